"""The journal: one row for each run, ended once, with what users ask of it."""

from __future__ import annotations

import datetime

import psycopg2.errors
import pytest

from db import Database
from integrations.timers import checks, journal, watch
from tests.database import Queries
from tests.plans import whole_reads
from tests.timers.conftest import LAST_RUNS, STATISTICS, TIMER, Define, ended, fence


def test_a_run_is_a_row_that_is_ended_once(queue: Database, sql: Queries) -> None:
    made = fence()
    with queue.transaction() as cursor:
        journal.begin(cursor, made, "one", "loader")
    assert sql("SELECT job, status, finished_at FROM zakaz.meta_job_runs") == [("loader", "running", None)]
    for status, rows in (("success", 5), ("error", 6)):
        with queue.transaction() as cursor:
            journal.end(cursor, made, status, rows=rows, message="да", output="вывод", metrics={"exit_status": 0})  # type: ignore[arg-type]
    [(job, started, finished, rows, status, message)] = sql(LAST_RUNS)
    assert (job, rows, status, message) == ("loader", 5, "success", "да")
    assert finished > started
    assert sql.value("SELECT metrics FROM zakaz.meta_job_runs") == {"exit_status": 0}


def test_the_statements_that_users_know_tell_runs_and_statistics(queue: Database, sql: Queries) -> None:
    for status, timer, rows in (("success", "a", 10), ("success", "a", 20), ("error", "a", None), ("error", "b", None)):
        ended(queue, status, timer=timer, rows=rows)
    assert [row[0] for row in sql(LAST_RUNS)] == ["b_loader", "a_loader", "a_loader", "a_loader"]
    assert sql(STATISTICS) == [
        ("a_loader", "error", 1, None),
        ("a_loader", "success", 2, 15),
        ("b_loader", "error", 1, None),
    ]


def test_a_run_that_has_ended_without_an_end_cannot_be_written(queue: Database, sql: Queries) -> None:
    for wrong in ("'success', NULL", "'running', now()", "'done', now()"):
        with pytest.raises(psycopg2.errors.CheckViolation):
            sql(f"INSERT INTO zakaz.meta_job_runs (job, status, finished_at) VALUES ('a', {wrong})")


def test_the_run_of_a_dead_attempt_is_closed_with_its_reason_and_its_end(queue: Database, sql: Queries) -> None:
    made = fence()
    with queue.transaction() as cursor:
        started = journal.begin(cursor, made, "one", "loader")
    sql(
        "INSERT INTO tksva_q.job (id, form, state, attempt, worker, slot) OVERRIDING SYSTEM VALUE"
        " VALUES (%s, 'timer', 'running', 1, gen_random_uuid(), 0)",
        made.job_id,
    )
    sql(
        "INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, slot, rows_before)"
        " VALUES (%s, 1, gen_random_uuid(), 'h', 0, 0)",
        made.job_id,
    )

    def close() -> int:
        with queue.transaction() as cursor:
            return journal.close_dead(cursor)

    assert close() == 0  # it runs
    over = started + datetime.timedelta(seconds=90)
    sql("UPDATE tksva_q.attempt SET outcome = 'given back', reason = 'the worker died', finished_at = %s", over)
    sql("UPDATE tksva_q.job SET state = 'waiting', worker = NULL, slot = NULL")
    assert (close(), close()) == (1, 0)
    [(_, begun, finished, _, status, message)] = sql(LAST_RUNS)
    assert (finished - begun, status) == (datetime.timedelta(seconds=90), "error")
    assert message == "прервано: the worker died"


def test_the_newest_runs_come_first_and_those_of_a_day_the_oldest(queue: Database, sql: Queries) -> None:
    for timer in ("a", "b", "a"):
        ended(queue, "success", timer=timer)
    sql("UPDATE zakaz.meta_job_runs SET finished_at = now() - interval '2 days' WHERE job = 'b_loader'")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with queue.transaction() as cursor:
        assert [run.timer for run in journal.last_runs(cursor)] == ["a", "b", "a"]
        assert [run.timer for run in journal.last_runs(cursor, "b")] == ["b"]
        assert len(journal.last_runs(cursor, limit=2)) == 2
        of_day = journal.since(cursor, yesterday)
    assert [run.timer for run in of_day] == ["a", "a"]
    assert of_day[0].started_at < of_day[1].started_at
    assert of_day[0].seconds is not None


def test_nothing_that_is_asked_often_reads_the_journal_whole(queue: Database, sql: Queries, define: Define) -> None:
    define(TIMER)
    sql(
        "INSERT INTO zakaz.meta_job_runs (job, started_at, finished_at, status)"
        " SELECT 'loader ' || g % 5, now() - g * interval '5 min', now() - g * interval '5 min', 'success'"
        " FROM generate_series(1, 50000) g;"
        "INSERT INTO tksva_q.timer_run (job_id, attempt, timer, job, started_at)"
        " SELECT 1000000 + row_number() OVER (ORDER BY started_at), 1,"
        "   CASE job WHEN 'loader 1' THEN 'qtickets' ELSE job END, job, started_at FROM zakaz.meta_job_runs;"
        "DELETE FROM tksva_q.timer_outbox; ANALYZE zakaz.meta_job_runs; ANALYZE tksva_q.timer_run"
    )
    tables = ("meta_job_runs", "timer_run")
    before = whole_reads(queue, sql, tables)
    watch.look(queue)
    ended(queue, "error")
    watch.look(queue)
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with queue.transaction() as cursor:
        assert len(journal.last_runs(cursor)) == len(journal.last_runs(cursor, "qtickets")) == 20
        assert 280 <= len(journal.since(cursor, yesterday)) <= 290
        assert journal.close_dead(cursor) == 0
        assert checks.checks(cursor)["job_runs"].status == "ok"
    assert len(sql(LAST_RUNS)) == 20
    assert whole_reads(queue, sql, tables) == before
