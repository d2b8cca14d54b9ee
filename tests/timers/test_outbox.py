"""ClickHouse gets what PostgreSQL has, once, also after an outage; the statements that users know work on both."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db import Database
from faults.clickhouse import PASSWORD, Server, server
from integrations.timers import definitions, outbox, watch
from integrations.timers.options import TimerSettings
from tests.database import Queries
from tests.timers.conftest import LAST_RUNS, STATISTICS, TIMER, Define, ended

WHOLE = "SELECT job, started_at, finished_at, rows_processed, status, message FROM zakaz.meta_job_runs"
#: Of the server, see CONFIG in faults/clickhouse.py.
ZONE = ZoneInfo("Asia/Irkutsk")
ALERT = "INSERT INTO zakaz.alerts (job, alert_type, title, message) VALUES ('loader', 'error', 't', 'm')"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture
def clickhouse(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A ClickHouse without the database, that the timers are to use."""
    running.run("DROP DATABASE IF EXISTS zakaz")
    for key, value in {"CH_HOST": "127.0.0.1", "CH_PORT": str(running.port), "CH_PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(key, value)
    return running


@pytest.fixture
def settings(clickhouse: Server) -> TimerSettings:
    return definitions.options()


def same(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as they can be compared: seconds since 1970 (ClickHouse has whole ones), numbers as floats, in an order."""

    def one(value: Any) -> Any:
        if isinstance(value, datetime.datetime):  # ClickHouse gives its server's time, without the zone
            return int((value if value.tzinfo else value.replace(tzinfo=ZONE)).timestamp())
        return float(value) if isinstance(value, (int, Decimal)) else value

    return sorted((tuple(map(one, row)) for row in rows), key=str)


def waiting(sql: Queries) -> int:
    return int(sql.value("SELECT count(*) FROM tksva_q.timer_outbox"))


def test_an_outage_loses_nothing_and_both_stores_answer_alike(
    queue: Database, sql: Queries, clickhouse: Server, settings: TimerSettings
) -> None:
    for number in range(3):
        ended(queue, "success", "да; 'нет'", rows=number)
    assert outbox.drain(queue, settings) == 6
    clickhouse.stop()
    ended(queue, "error", "код выхода 3")
    sql(ALERT)
    assert outbox.drain(queue, settings) == 0
    assert waiting(sql) == 3
    clickhouse.start()
    assert outbox.drain(queue, settings) == 3
    assert waiting(sql) == 0
    for statement in (WHOLE, STATISTICS, LAST_RUNS):
        assert same(clickhouse.run(statement)) == same(sql(statement)), statement
    assert len(clickhouse.run(LAST_RUNS)) == 4
    assert clickhouse.run("SELECT job, alert_type, acknowledged FROM zakaz.alerts") == [("loader", "error", 0)]


def test_rows_that_are_sent_twice_are_one(
    queue: Database, sql: Queries, clickhouse: Server, settings: TimerSettings
) -> None:
    ended(queue, "success", rows=5)
    kept = sql("SELECT id, store, line::text FROM tksva_q.timer_outbox")
    outbox.drain(queue, settings)
    for row in kept:  # as after a death between sending and deleting
        sql("INSERT INTO tksva_q.timer_outbox OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s::jsonb)", *row)
    assert outbox.drain(queue, settings) == 2
    assert [row[3:5] for row in clickhouse.run(LAST_RUNS)] == [(5, "success")]


def test_two_runs_of_one_second_are_two(
    queue: Database, sql: Queries, clickhouse: Server, settings: TimerSettings
) -> None:
    for micro in (1, 2):
        sql(
            "INSERT INTO zakaz.meta_job_runs (job, started_at, finished_at, status)"
            " VALUES ('loader', timestamptz '2026-01-10 09:00:00+03' + %s * interval '1 us', now(), 'success')",
            micro,
        )
    outbox.drain(queue, settings)
    assert clickhouse.run("SELECT count(), toUnixTimestamp(min(started_at)) FROM zakaz.meta_job_runs") == [
        (2, 1_768_024_800)
    ]


def test_an_alert_is_acknowledged_in_both(
    queue: Database, sql: Queries, clickhouse: Server, settings: TimerSettings
) -> None:
    sql(ALERT)
    outbox.drain(queue, settings)
    sql("UPDATE zakaz.alerts SET acknowledged = true, acknowledged_at = now(), acknowledged_by = 'Иванов'")
    outbox.drain(queue, settings)
    columns = "alert_id, created_at, job, alert_type, title, message, acknowledged, acknowledged_at, acknowledged_by"
    statement = f"SELECT {columns} FROM zakaz.alerts"
    assert same(clickhouse.run(statement)) == same(sql(statement))


def test_more_than_one_insert_takes_goes_in_several(
    queue: Database, sql: Queries, clickhouse: Server, settings: TimerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH", 3)
    for number in range(4):
        ended(queue, "success", rows=number)
    assert outbox.drain(queue, settings) == 8
    assert clickhouse.run("SELECT count(), sum(rows_processed) FROM zakaz.meta_job_runs") == [(4, 6)]


@pytest.mark.usefixtures("clickhouse")
def test_a_wrong_password_waits_and_is_not_told(
    queue: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CH_PASSWORD", "s3cret-word")
    sql(ALERT)
    assert outbox.drain(queue, definitions.options()) == 0
    assert waiting(sql) == 1
    said = str([record.__dict__ for record in caplog.records])
    assert "clickhouse_waits" in said
    assert "s3cret-word" not in said


def test_the_watch_fills_clickhouse(queue: Database, define: Define, clickhouse: Server) -> None:
    define(TIMER)
    ended(queue, "error", "код выхода 3")
    watch.look(queue)
    assert clickhouse.run("SELECT title FROM zakaz.alerts") == [("Таймер qtickets: запуск закончился ошибкой",)]
    assert clickhouse.run("SELECT status FROM zakaz.meta_job_runs") == [("error",)]


def test_without_clickhouse_nothing_piles_up(queue: Database, sql: Queries) -> None:
    sql("INSERT INTO zakaz.alerts (job, alert_type, title, message) VALUES ('loader', 'error', 't', 'm')")
    outbox.drain(queue, definitions.options())
    assert waiting(sql) == 0
