"""The consumer of statuses killed at random moments, the broker restarted: what is applied is what a replay says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.structs import ConsumerRecord  # type: ignore[import-untyped]

import db
from faults.bench import Bench
from faults.daemon import luck, wait_for
from faults.kafka import Broker, running_broker, running_s3
from faults.report import Result, spread

TOPIC, GROUP = "task_statuses", "parser_manager"
#: Statuses that are sent together.
CHUNK = 100
#: Shares of messages that are no status, and of those that are of no task.
NONSENSE, STRANGE = 0.01, 0.01
#: Seconds for which a consumer works before it is killed, at most, and for which the broker is away.
LIFE, AWAY = 2.0, 1.5
FINAL = ("success", "error", "cancelled")
WORDS = ("in_progress", "in_progress", *FINAL)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

_MADE = """
WITH t AS (INSERT INTO parsers.task_type (code, title, interval_seconds, timeout_seconds)
           VALUES ('posts', 'Записи', 3600, 3600) RETURNING id),
g AS (INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)
      SELECT id, 'rss', now(), now() + interval '1 day' FROM t RETURNING id),
s AS (INSERT INTO parsers.source (name, type, external_id)
      SELECT n, 'rss', n FROM generate_series(1, %s) n RETURNING id)
INSERT INTO parsers.task (group_id, source_id, payload, status, sent_at)
SELECT g.id, s.id, '{}', 'sent', now() FROM g, s RETURNING id::text
"""
_TASKS = "SELECT id::text, status, started_at, finished_at, items, error FROM parsers.task"


class _Sender(threading.Thread):
    """Sends statuses, chunk by chunk, over the whole time; a broker that is away is waited for."""

    def __init__(self, broker: Broker, tasks: list[str], count: int, pause: float) -> None:
        super().__init__(daemon=True)
        self.broker = broker
        self.tasks = tasks
        self.left = count
        self.sent = 0
        self.pause = pause
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while self.left > 0:
                chunk = [self._message() for _ in range(min(CHUNK, self.left))]
                try:
                    self.broker.send(TOPIC, chunk)
                except (KafkaError, OSError, TimeoutError):  # parts of it may be there: the replay sees them, too
                    time.sleep(0.2)
                    continue
                self.left -= len(chunk)
                self.sent += len(chunk)
                time.sleep(self.pause)
        except BaseException as error:
            self.error = error

    def _message(self) -> tuple[bytes, bytes]:
        task = luck.choice(self.tasks)
        if luck.random() < NONSENSE:
            return task.encode(), luck.choice([b"\xff\x00", b"", b"[]", b'{"task_id": 7}'])
        if luck.random() < STRANGE:
            task = str(uuid.uuid4())
        said: dict[str, Any] = {"task_id": task, "status": luck.choice(WORDS)}
        said["occurred_at"] = (NOON + timedelta(milliseconds=luck.randrange(10**8))).isoformat()
        if luck.random() < 0.5:
            said["items"] = luck.randrange(1000)
        if said["status"] == "error":
            said["error"] = f"сбой {luck.randrange(100)}"
        return task.encode(), json.dumps(said).encode()


class _Watch(threading.Thread):
    """Looks all the time what Kafka was told, and then at the database: it must be as far."""

    def __init__(self, bench: Bench, broker: Broker) -> None:
        super().__init__(daemon=True)
        self.bench = bench
        self.broker = broker
        self.looks = 0
        self.lost: list[str] = []
        self._over = threading.Event()
        self._database = db.Database(bench.conninfo, "watch")

    def run(self) -> None:
        while not self._over.wait(0.1):
            with contextlib.suppress(KafkaError, OSError, TimeoutError, db.DatabaseAway):
                self._look()

    def _look(self) -> None:
        told = self.broker.committed(GROUP, TOPIC)
        with self._database.statement() as cursor:
            cursor.execute("SELECT partition, next_offset FROM parsers.consumed WHERE topic = %s", (TOPIC,))
            kept = dict(cursor.fetchall())
        self.looks += 1
        self.lost += [
            f"partition {number}: Kafka was told {offset}, the database is at {kept.get(number)}"
            for number, offset in told.items()
            if offset > kept.get(number, 0)
        ]

    def close(self) -> None:
        self._over.set()
        self.join(120)
        self._database.close()


def run(bench: Bench, statuses: int = 20_000, kills: int = 30, restarts: int = 2) -> list[Result]:
    """Send so many statuses while the consumer is killed and the broker restarted, and compare with a replay."""
    with running_s3() as s3, running_broker(s3) as broker:
        daemon = bench.daemon(integrations="parsers", kafka_port=broker.port, kafka_default_bulk_size=200)
        tasks = [task for (task,) in bench.sql(_MADE, max(10, statuses // 4))]
        sender = _Sender(broker, tasks, statuses, pause=(kills + restarts) * LIFE / 2 / (statuses / CHUNK))
        watch = _Watch(bench, broker)
        sender.start()
        watch.start()
        seconds = _disturb(bench, broker, kills, restarts)
        wait_for(lambda: not sender.is_alive(), "the sender's end", 600)
        messages = wait_for(
            lambda: _applied(bench, broker),
            lambda: f"all statuses: {_offsets(bench)} of {_ends(broker.read(TOPIC))}\n" + "\n".join(daemon.lines[-20:]),
        )
        watch.close()
        lost = watch.lost + _compare(bench, messages, tasks)
        if daemon.stop() != 0 or sender.error is not None:
            lost.append(f"daemon {daemon.process.returncode}, sender {sender.error!r}")
    if bench.value("SELECT restarts FROM tksva_q.service WHERE name = 'parsers_consumer'") < kills:
        lost.append("not every death was counted")
    figures = {
        "статусов": str(sender.sent),
        "сравнений смещений": str(watch.looks),
        "от SIGKILL до следующего применённого": spread(seconds),
        "перезапусков брокера": str(restarts),
    }
    return [Result("SIGKILL потребителя статусов", kills, lost, figures)]


def _disturb(bench: Bench, broker: Broker, kills: int, restarts: int) -> list[float]:
    """Do what there is to be done, in a random order; return the seconds from each kill to the next progress."""
    faults = ["kill"] * kills + ["restart"] * restarts
    luck.shuffle(faults)
    seconds: list[float] = []
    _await_progress(bench)
    for fault in faults:
        time.sleep(luck.uniform(0, LIFE))
        if fault == "restart":
            broker.restart(luck.uniform(0, AWAY))
        else:
            began = time.monotonic()
            _kill(bench)
            _await_progress(bench)
            seconds.append(time.monotonic() - began)
    return seconds


def _kill(bench: Bench) -> None:
    query = "SELECT process FROM tksva_q.service_instance WHERE name = 'parsers_consumer' AND process IS NOT NULL"
    process: int = wait_for(lambda: next((pid for (pid,) in bench.sql(query)), None), "a consumer that lives")
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: bench.sql(query) != [(process,)], "the end of the consumer")


def _await_progress(bench: Bench) -> None:
    """Wait until more is applied than now, or there is nothing left to apply."""
    before = sum(_offsets(bench).values())
    until = time.monotonic() + 60
    while sum(_offsets(bench).values()) == before and time.monotonic() < until:
        time.sleep(0.02)
        if _idle(bench):
            return


def _idle(bench: Bench) -> bool:
    """Whether a consumer that lives has applied everything."""
    return bool(
        bench.value(
            "SELECT coalesce(sum(end_offset - next_offset), 1) <= 0 AND EXISTS (SELECT FROM tksva_q.service_instance"
            " WHERE name = 'parsers_consumer' AND process IS NOT NULL AND seen_at > since + interval '3 s')"
            " FROM parsers.consumed"
        )
    )


def _offsets(bench: Bench) -> dict[int, int]:
    return dict(bench.sql("SELECT partition, next_offset FROM parsers.consumed WHERE topic = %s", TOPIC))


def _ends(messages: list[ConsumerRecord[bytes, bytes]]) -> dict[int, int]:
    return {message.partition: message.offset + 1 for message in messages}


def _applied(bench: Bench, broker: Broker) -> list[ConsumerRecord[bytes, bytes]] | None:
    """Return the whole topic when the database is just as far; None before that.

    A broker with its data in S3 now and then says that a partition ends earlier than it does: it is asked again.
    """
    messages = broker.read(TOPIC)
    read = {number: offset for number, offset in _offsets(bench).items() if offset}
    return messages if read == _ends(messages) else None


# --- a replay of the topic, in one process and as simple as can be ----------------------------------------------------


def replay(
    messages: list[tuple[int, bytes | None]], tasks: list[str]
) -> tuple[dict[str, tuple[Any, ...]], dict[str, int]]:
    """Return what every task and counter must be: status, start, end, items, error."""
    state: dict[str, list[Any]] = {task: ["sent", None, None, None, None] for task in tasks}
    counted = {"applied": 0, "ignored": 0, "malformed": 0, "unknown": 0}
    for _, body in messages:
        try:
            said = json.loads(body or b"")
            task, word, moment = said["task_id"], said["status"], datetime.fromisoformat(said["occurred_at"])
        except (ValueError, KeyError, TypeError):
            counted["malformed"] += 1
            continue
        if task not in state:
            counted["unknown"] += 1
        elif state[task][0] in FINAL:
            counted["ignored"] += 1
        else:
            counted["applied"] += 1
            one = state[task]
            one[0] = word
            one[1] = (one[1] or moment) if word == "in_progress" else one[1]
            one[2] = moment if word in FINAL else None
            one[3] = said.get("items", one[3])
            one[4] = said.get("error", one[4])
    return {task: tuple(one) for task, one in state.items()}, counted


def _compare(bench: Bench, messages: list[ConsumerRecord[bytes, bytes]], tasks: list[str]) -> list[str]:
    expected, counted = replay([(one.partition, one.value) for one in messages], tasks)
    found = {row[0]: tuple(row[1:]) for row in bench.sql(_TASKS)}
    lost = [f"task {task}: {found.get(task)}, not {one}" for task, one in expected.items() if found.get(task) != one]
    numbers = dict(bench.sql("SELECT name, value FROM parsers.counter"))
    if numbers != counted:
        lost.append(f"counted {numbers}, not {counted}")
    refused = bench.value("SELECT count(*) FROM parsers.refused")
    if refused != counted["malformed"] + counted["unknown"]:
        lost.append(f"{refused} messages were kept, not {counted['malformed'] + counted['unknown']}")
    return lost
