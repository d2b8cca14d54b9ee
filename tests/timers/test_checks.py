"""Whether the timers run as their own schedules say: as checks of the health."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

import timetable
from db import Database
from integrations.timers import checks, definitions, watch
from schedules import Schedule
from tests.daemons import Daemon
from tests.database import Queries
from tests.timers.conftest import START, Define
from tests.waiting import wait_for
from tests.web.server import Web


def test_a_timer_is_late_by_its_own_period(define: Define, queue: Database, sql: Queries) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\njitter = 60\n')
    now = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
    sql("INSERT INTO zakaz.meta_job_runs VALUES ('a', %s, %s, 1, 'success')", now, now)
    sql("INSERT INTO tksva_q.timer_run VALUES (1, 1, 'a', 'a', %s)", now)
    sql("INSERT INTO tksva_q.timer_seen VALUES ('a', %s)", now - datetime.timedelta(days=1))
    for minutes, status in ((31, "ok"), (33, "error")):
        with queue.transaction() as cursor:
            found = checks.checks(cursor, now + datetime.timedelta(minutes=minutes))
        assert found["job_runs"].status == status


def test_a_timer_that_was_off_is_not_late_when_it_comes_back(define: Define, queue: Database) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\n')
    schedule = definitions.load().schedule("a")
    for minutes, switch in ((0, timetable.disable), (60, timetable.enable), (120, timetable.enable)):
        watch.look(queue, START + datetime.timedelta(minutes=minutes))
        with queue.transaction() as cursor:
            assert checks.late(cursor, definitions.load(), START + datetime.timedelta(minutes=minutes)) == []
            switch(cursor, schedule)


@pytest.mark.parametrize(
    ("cron", "heard", "late"),
    [
        ("*/15 * * * *", "10 12:00:40", "10 12:31:40"),
        ("*/15 * * * *", "10 12:14:50", "10 12:45:50"),  # late itself: twice its period from then
        ("0 0,4,8,12,16,20 * * *", "10 08:02:00", "10 16:03:00"),
        ("0 0 * * *", "10 00:03:00", "12 00:04:00"),
        ("0 9-17 * * 1-5", "09 17:00:00", "12 10:01:00"),  # from Friday to Monday nothing is due
    ],
)
def test_a_timer_is_late_when_two_slots_of_its_own_have_passed(cron: str, heard: str, late: str) -> None:
    made = Schedule("a", cron, "timer", zone="Europe/Moscow", jitter=60)
    begin, end = (datetime.datetime.fromisoformat(f"2026-01-{moment}+03:00") for moment in (heard, late))
    assert checks.late_after(made, begin) == end


def test_a_timer_that_is_off_is_never_late(define: Define, queue: Database) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\nenabled = false\n')
    watch.look(queue, START)
    with queue.transaction() as cursor:
        assert checks.late(cursor, definitions.load(), START + datetime.timedelta(days=9)) == []


def test_a_clickhouse_that_is_away_is_a_warning(
    define: Define, queue: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    define("[timers]")

    def found() -> tuple[str, str]:
        with queue.transaction() as cursor:
            check = checks.checks(cursor)["clickhouse"]
        return check.status, check.text

    assert found() == ("ok", "не используется")
    monkeypatch.setenv("CH_HOST", "127.0.0.1")
    monkeypatch.setenv("CH_PORT", "1")
    assert found() == ("warning", "не отвечает: Connection refused")


def test_stale_data_make_the_health_bad_and_are_listed(
    script: Callable[..., Path],
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],
    sql: Queries,
) -> None:
    path = script("")
    with path.open("a", encoding="utf-8") as more:
        more.write('[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    start_daemon(integrations="timers")
    sql("CREATE TABLE zakaz.sales (day date)")
    with start_web(integrations="timers").client() as client:
        wait_for(lambda: client.get("/healthz").status_code == 200)
        assert set(client.get("/healthz").json()) >= {"status", "timestamp", "checks"}
        for day, code, status in ((None, 503, "error"), (2, 200, "warning"), (0, 200, "ok")):
            if day is not None:
                sql("INSERT INTO zakaz.sales VALUES ((now() AT TIME ZONE 'Europe/Moscow')::date - %s)", day)
            fresh, detailed = client.get("/healthz/freshness"), client.get("/healthz/detailed")
            assert (fresh.status_code, detailed.status_code) == (code, code)
            [source] = fresh.json()["data"]
            assert (source["source"], source["status"], source["days_behind"]) == ("sales", status, day)
            checks = detailed.json()["checks"]
            assert set(checks) >= {"database", "clickhouse", "data_freshness", "job_runs"}
            assert checks["data_freshness"]["status"] == status
