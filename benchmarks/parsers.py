"""Statuses of parsers, from Kafka into the database: how many a second, and how long a single one takes."""

import json
import statistics
import time
import uuid
from datetime import UTC, datetime

from benchmarks.bench import Bench
from benchmarks.daemon import Daemon
from benchmarks.report import Section, rate, seconds
from faults.kafka import Broker, running_broker

TOPIC = "task_statuses"
#: Tasks that are followed: each begins, and each ends.
STATUSES_PER_TASK = 2
#: Statuses a second, and seconds from a status sent to a status seen, that are wanted.
RATE, SINGLE_SECONDS = 5000.0, 2.0
#: Seconds after which nothing more is expected.
PATIENCE = 120.0

_MADE = """
WITH t AS (INSERT INTO parsers.task_type (code, title, interval_seconds, timeout_seconds)
           VALUES (gen_random_uuid(), 'Записи', 3600, 3600) RETURNING id),
g AS (INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)
      SELECT id, 'rss', now(), now() + interval '1 day' FROM t RETURNING id),
s AS (INSERT INTO parsers.source (name, type, external_id)
      SELECT n, 'rss', gen_random_uuid() FROM generate_series(1, %s) n RETURNING id)
INSERT INTO parsers.task (group_id, source_id, payload, status, sent_at)
SELECT g.id, s.id, '{}', 'sent', now() FROM g, s RETURNING id::text
"""
_APPLIED = "SELECT value FROM parsers.counter WHERE name = 'applied'"


def measure(bench: Bench) -> Section:
    """Send all statuses while the daemon stands ready, then single ones to a consumer that is idle."""
    count, singles = bench.plan.statuses, bench.plan.singles
    section = Section(
        f"Statuses of parsers, from Kafka into the database: {count:,} in batches, then {singles} single ones",
        ("", "median", "slowest", "a second"),
    )
    with (
        running_broker() as broker,
        bench.daemon(bench.server.database("parsers"), integrations="parsers", kafka_port=broker.port) as daemon,
    ):
        _send(broker, [_status(str(uuid.uuid4()), "success")])  # of no task: the topic is there, and read
        _await(daemon, "SELECT value FROM parsers.counter WHERE name = 'unknown'", 1)
        taken = [_bulk(broker, daemon, count) for _ in range(bench.plan.runs)]
        waits = _singles(broker, daemon, singles)
    middle = statistics.median(taken)
    section.rows.append(("all of them", seconds(middle), seconds(max(taken)), rate(count / middle)))
    section.rows.append(("a single one", seconds(statistics.median(waits)), seconds(max(waits)), ""))
    section.least("statuses a second", count / middle, RATE)
    section.most("a single status, slowest", max(waits), SINGLE_SECONDS, " s")
    section.notes.append(
        "From the first message sent to the last one applied: the sender and the broker (tansu, in memory) share the"
        " machine with the consumer."
    )
    return section


def _bulk(broker: Broker, daemon: Daemon, count: int) -> float:
    """Return the seconds from the first status sent to the last one applied."""
    tasks = [task for (task,) in daemon.query(_MADE, count // STATUSES_PER_TASK)]
    before = daemon.query(_APPLIED)[0][0]
    messages = [_status(task, word) for word in ("in_progress", "success") for task in tasks]
    began = time.perf_counter()
    _send(broker, messages)
    _await(daemon, _APPLIED, before + len(messages))
    return time.perf_counter() - began


def _singles(broker: Broker, daemon: Daemon, count: int) -> list[float]:
    waits = []
    for (task,) in daemon.query(_MADE, count):
        began = time.perf_counter()
        _send(broker, [_status(task, "success")])
        while daemon.query("SELECT status FROM parsers.task WHERE id = %s", task) != [("success",)]:
            if time.perf_counter() > began + PATIENCE:
                raise RuntimeError("\n".join(daemon.lines[-20:]))
            time.sleep(0.002)
        waits.append(time.perf_counter() - began)
        time.sleep(0.05)
    return waits


def _status(task: str, word: str) -> tuple[bytes, bytes]:
    said = {"task_id": task, "status": word, "occurred_at": datetime.now(UTC).isoformat(), "items": 7}
    return task.encode(), json.dumps(said).encode()


def _send(broker: Broker, messages: list[tuple[bytes, bytes]]) -> None:
    broker.send(TOPIC, list[tuple[bytes | None, bytes | None]](messages))


def _await(daemon: Daemon, query: str, wanted: int) -> None:
    until = time.perf_counter() + PATIENCE
    while daemon.query(query)[0][0] < wanted:
        if time.perf_counter() > until:
            raise RuntimeError("\n".join(daemon.lines[-20:]))
        time.sleep(0.005)
