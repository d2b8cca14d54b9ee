"""Statuses come back through a real broker, a real daemon and the sample parser; what dies is started again."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from faults.kafka import Broker, running_broker
from integrations.parsers import consumer, shares
from tests import ROOT
from tests.daemons import Daemon
from tests.database import Queries
from tests.parsers.conftest import GROUP, Parsers, status
from tests.waiting import wait_for
from tests.web.server import Web

#: Seconds within which a status has been applied, or never will be.
JOIN_SECONDS = 60

HELD = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid::bigint = %s
  AND objid::bigint < 1000 GROUP BY pid
"""

Serve = Callable[..., Any]


def process(sql: Queries, service: str) -> int | None:
    found = sql("SELECT process FROM tksva_q.service_instance WHERE name = %s", service)
    return found[0][0] if found else None


@pytest.fixture
def sample_parser(parsers: Parsers, broker: Broker) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "docs" / "sample_parser.py"),
            broker.address,
            parsers.topics["rss"],
            parsers.statuses,
        ],
        stderr=subprocess.PIPE,
    )
    yield running
    running.kill()
    running.communicate()


def test_tasks_go_out_and_statuses_come_back_whoever_dies(  # noqa: PLR0913, PLR0917 -- all of it
    parsers: Parsers,
    broker: Broker,
    sql: Queries,
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],
    sample_parser: subprocess.Popen[bytes],
) -> None:
    """One walk through all of it: joining the group takes the broker long."""
    sql("UPDATE parsers.source SET external_id = 'https://example.org/feed' WHERE id = 1")
    settings = parsers.at(broker)
    daemon = start_daemon(**settings)
    with start_web(**settings).client() as client:
        # --- end to end, with the sample parser: one of the two feeds has an address ----------------------------------
        assert client.post(GROUP).status_code == 201
        assert sql.value("SELECT count(*) FROM parsers.task") == 3  # or the schedule was quicker
        wait_for(
            lambda: parsers.states() == {"success": 1, "error": 1, "sent": 1},
            JOIN_SECONDS,
            lambda: f"{parsers.states()} {sample_parser.poll()}\n{daemon.log}",
        )
        assert sql(
            "SELECT source_id, items, error FROM parsers.task WHERE status IN ('success', 'error') ORDER BY 1"
        ) == [
            (1, 24, None),
            (2, None, "не адрес ленты: 2"),
        ]
        assert sql.value("SELECT count(*) FROM parsers.task WHERE started_at <= finished_at") == 2
        statuses = {one["source_type"]: one["status"] for one in client.get(GROUP).json()["items"]}
        assert statuses == {"rss": "error", "vk": "sent"}

        # --- what nobody understands is counted and kept, and the consumer lives --------------------------------------
        [vk] = sql("SELECT id::text FROM parsers.task WHERE source_id = 3")
        gone = "0190c7a4-6f5e-7000-8000-000000000001"
        first = process(sql, "parsers_consumer")
        broker.send(
            parsers.statuses,
            [
                (None, b"\xff\x00"),
                (b"k", None),
                (b"k", status(gone, "success")),
                (vk[0].encode(), status(vk[0], "in_progress")),
            ],
        )
        wait_for(lambda: parsers.states().get("in_progress") == 1, 30, lambda: daemon.log)
        wait_for(lambda: parsers.counters() == {"applied": 5, "ignored": 0, "malformed": 2, "unknown": 1}, 30)
        assert sql.value("SELECT count(*) FROM parsers.refused") == 3
        assert process(sql, "parsers_consumer") == first

        # --- a consumer that dies is started again, and health and a metric say so ------------------------------------
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(
            lambda: 'tksva_q_service_restarts_total{service="parsers_consumer"} 1.0' in client.get("/metrics").text, 30
        )
        check = wait_for(
            lambda: (
                (found := client.get("/healthz/detailed").json()["checks"]["parsers_consumer"])["status"] != "ok"
                and found
            ),
            30,
        )
        assert "killed by signal 9" in check["text"] or "подключается" in check["text"]
        broker.send(parsers.statuses, [(vk[0].encode(), status(vk[0], word)) for word in ("success", "error")])
        wait_for(lambda: parsers.states() == {"success": 2, "error": 1}, JOIN_SECONDS, lambda: daemon.log)
        wait_for(lambda: parsers.counters()["ignored"] == 1, 10)
        text = client.get("/metrics").text
        assert 'tksva_q_service_up{service="parsers_consumer"} 1.0' in text
        assert "tksva_q_parser_ignored_total 1.0" in text
        assert "tksva_q_parser_malformed_total 2.0" in text, (
            parsers.counters(),
            sql("SELECT * FROM parsers.refused"),
            sql("SELECT * FROM parsers.consumed"),
            daemon.log,
        )
        assert "tksva_q_parser_unknown_total 1.0" in text
        assert "tksva_q_parser_lag 0.0" in text
        assert 'tksva_q_parser_tasks{state="success",type="vk"} 1.0' in text

    # --- offsets are Kafka's, too, after the database's; SIGTERM ends all of it ---------------------------------------
    def kept() -> dict[int, int]:
        return dict(sql("SELECT partition, next_offset FROM parsers.consumed WHERE next_offset > 0"))

    def told() -> dict[int, int]:
        found = broker.committed(str(settings["kafka_tasks_consumer_group"]), parsers.statuses)
        return {number: offset for number, offset in found.items() if offset}

    wait_for(lambda: told() == kept(), 30, lambda: f"{told()}, {kept()}")
    pids = [process(sql, name) for name in ("parsers_consumer", "parsers_outbox")]
    assert daemon.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert sum(kept().values()) == sum(parsers.counters().values())
    assert "CRITICAL" not in daemon.log


def test_kafka_left_to_others_starts_nothing_here(
    parsers: Parsers, sql: Queries, start_daemon: Callable[..., Daemon]
) -> None:
    daemon = start_daemon(**parsers.settings, kafka_workers_enabled="false")
    post = sql.post("рядом.csv")
    sql.await_status(post, "файл подготовлен")
    assert process(sql, "parsers_outbox") is None
    assert daemon.stop() == 0
    assert "service_started" not in daemon.log


def test_the_sample_parser_says_why_a_source_cannot_be_read() -> None:
    sample = runpy.run_path(str(ROOT / "docs" / "sample_parser.py"))
    assert sample["parse"]({"external_id": "https://a"}) == 9
    with pytest.raises(ValueError, match="не адрес ленты: x"):
        sample["parse"]({"external_id": "x"})


def send(broker: Broker, parsers: Parsers, tasks: list[str], word: str) -> None:
    """Send statuses, all of them into one partition."""
    broker.send(parsers.statuses, [(b"one key", status(task, word)) for task in tasks])


def applied(parsers: Parsers, count: int) -> None:
    wait_for(lambda: parsers.counters()["applied"] == count, JOIN_SECONDS, lambda: str(parsers.counters()))


def test_a_broker_that_comes_back_with_nothing_is_read_from_its_beginning(
    parsers: Parsers, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumer, "GONE_SECONDS", 1.5)
    tasks = parsers.tasks(30)
    with running_broker() as broker:
        with serve(consumer.run, **parsers.at(broker)):
            send(broker, parsers, tasks[:20], "in_progress")
            applied(parsers, 20)
            broker.restart()
            wait_for(lambda: "topic_anew" in caplog.text, 60)
            send(broker, parsers, tasks[:5], "success")
            applied(parsers, 25)
        broker.restart()
        send(broker, parsers, tasks[5:8], "success")
        with serve(consumer.run, **parsers.at(broker)):
            applied(parsers, 28)
    assert parsers.states() == {"created": 10, "in_progress": 12, "success": 8}


def test_a_topic_that_is_not_there_yet_is_no_trouble_and_an_old_managers_offsets_are_respected(
    parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    tasks = parsers.tasks(4)
    with serve(consumer.run, **parsers.at(broker)):
        wait_for(lambda: sql("SELECT 1 FROM tksva_q.service_instance WHERE trouble IS NULL"), 30)
        send(broker, parsers, tasks[:2], "success")
        applied(parsers, 2)
    group = str(parsers.settings["kafka_tasks_consumer_group"])
    [end] = [offset for offset in wait_for(lambda: broker.committed(group, parsers.statuses), 30).values() if offset]
    assert end == 2
    sql("DELETE FROM parsers.consumed")  # a new database, and the group's offsets of an older manager
    send(broker, parsers, tasks[2:3], "success")
    with serve(consumer.run, **parsers.at(broker)):
        applied(parsers, 3)
    assert parsers.counters()["ignored"] == 0


def test_two_daemons_share_the_partitions_and_one_that_ends_leaves_its_own(
    parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    tasks = parsers.tasks(120)
    broker.send(parsers.statuses, [(task.encode(), status(task, "in_progress")) for task in tasks[:40]])

    def held() -> list[int]:
        """How many partitions each connection holds."""
        return [count for (count,) in sql(HELD, shares._key(parsers.statuses) % 2**32)]

    with serve(consumer.run, **parsers.at(broker)):
        wait_for(lambda: held() == [4], 30, lambda: str(held()))
        with serve(consumer.run, **parsers.at(broker)):
            wait_for(lambda: held() == [2, 2], 30, lambda: str(held()))
            broker.send(parsers.statuses, [(task.encode(), status(task, "in_progress")) for task in tasks[40:80]])
            applied(parsers, 80)
        wait_for(lambda: held() == [4], 30, lambda: str(held()))
        broker.send(parsers.statuses, [(task.encode(), status(task, "in_progress")) for task in tasks[80:]])
        applied(parsers, 120)


def test_a_database_connection_that_breaks_is_made_again_and_nothing_is_applied_twice(
    parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    tasks = parsers.tasks(60)
    with serve(consumer.run, **parsers.at(broker)):
        for part in range(0, 60, 20):
            broker.send(
                parsers.statuses, [(task.encode(), status(task, "success")) for task in tasks[part : part + 20]]
            )
            applied(parsers, part + 20)
            sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'tksva_q test'"
            )
    assert parsers.counters() == {"applied": 60, "ignored": 0, "malformed": 0, "unknown": 0}
