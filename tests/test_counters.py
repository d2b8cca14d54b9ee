"""What is counted equals what happened, whichever process did it and however the job ended."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable

import psycopg2.extensions
import pytest
from alembic import command

import counters
import jobs
import progress
import queueing
import schema
from db import Database
from errors import UserError
from inbox import Inbox
from jobs import Settlement
from tests.claims import other
from tests.daemons import Daemon
from tests.database import Queries, server_cursor
from tests.waiting import join, wait_for

Start = Callable[..., Daemon]


@pytest.fixture
def worker(own: Database) -> str:
    me = other(own)
    with own.statement() as cursor:
        me.renew(cursor, 0.25)
    return me.id


def read(own: Database) -> counters.Counts:
    with own.statement() as cursor:
        return counters.read(cursor)


def ended(own: Database) -> dict[tuple[str, str], int]:
    return {(one.form, one.outcome): one.jobs for one in read(own).ended}


def submit(own: Database, form: str = "empty", file_name: str | None = None) -> int:
    with own.transaction() as cursor:
        return queueing.submit(cursor, form, {}, user_id=1, file_name=file_name)


def run(own: Database, worker: str, end: Settlement) -> None:
    with own.transaction() as cursor:
        job = jobs.claim(cursor, worker, 0)
        assert job is not None
        progress.record(cursor, job.fence, progress.Progress(7, 7, 100, {}))
    with own.transaction() as cursor:
        jobs.settle(cursor, job.fence, job.dwh_table, end)


def test_each_way_to_end_is_counted_once(own: Database, worker: str) -> None:
    for end, name in [
        (Settlement("done", "done"), "a.csv"),
        (Settlement("done", "done"), "a.XLSX"),
        (Settlement("failed", "failed", "no"), "a.csv"),
        (Settlement("cancelled", "cancelled", "no"), "a.csv"),
    ]:
        submit(own, file_name=name)
        run(own, worker, end)
    waiting = submit(own)
    with own.transaction() as cursor:
        assert queueing.cancel(cursor, waiting) == "waiting"
    counts = read(own)
    assert ended(own) == {("empty", "done"): 2, ("empty", "failed"): 1, ("empty", "cancelled"): 2}
    assert counts.present == {"done": 2, "failed": 1, "cancelled": 2}
    assert (counts.rows, counts.bytes) == ({"empty": 14}, {"csv": 100, "xlsx": 100})
    [durations] = counts.durations
    assert sum(durations.counts) == 4  # the fifth had never started


def test_an_attempt_that_goes_back_to_the_queue_is_no_end(own: Database, worker: str) -> None:
    submit(own)
    run(own, worker, Settlement("waiting", "retry", "later"))
    assert read(own).requeued == {"empty": 1}
    assert ended(own) == {}


def test_a_failed_job_that_is_retried_leaves_the_failed_ones_and_stays_counted(own: Database, worker: str) -> None:
    job = submit(own)
    run(own, worker, Settlement("failed", "failed", "no"))
    with own.transaction() as cursor:
        assert queueing.retry(cursor, job) == [job]
    assert read(own).present["failed"] == 0
    run(own, worker, Settlement("done", "done"))
    assert ended(own) == {("empty", "failed"): 1, ("empty", "done"): 1}
    assert read(own).present == {"done": 1, "failed": 0, "cancelled": 0}


def test_what_is_refused_at_the_door_is_counted(own: Database, sql: Queries) -> None:
    def refuse(_request: object) -> str | None:
        raise UserError("нет")

    for form in ("a", "a", "b"):
        sql.post("x.csv", form=form)
    Inbox(refuse).take_in(own)
    assert ended(own) == {("a", "failed"): 2, ("b", "failed"): 1}


def test_names_that_nobody_runs_do_not_multiply_without_end(own: Database, sql: Queries) -> None:
    for number in range(120):
        sql(
            "INSERT INTO tksva_q.job (form, state, finished_at) VALUES (%s, 'failed', now())",
            f"form {number}",
        )
    forms = {form for form, _ in ended(own)}
    assert len(forms) == 101
    assert ended(own)["", "failed"] == 20


def test_jobs_that_are_deleted_stay_counted_but_are_not_there(own: Database, worker: str, sql: Queries) -> None:
    submit(own)
    run(own, worker, Settlement("done", "done"))
    sql("DELETE FROM tksva_q.job")
    assert ended(own) == {("empty", "done"): 1}
    assert read(own).present["done"] == 0


def test_an_ended_transaction_that_was_rolled_back_counts_nothing(own: Database, worker: str) -> None:
    submit(own)
    with pytest.raises(ZeroDivisionError), own.transaction() as cursor:
        job = jobs.claim(cursor, worker, 0)
        assert job is not None
        jobs.settle(cursor, job.fence, None, Settlement("done", "done"))
        raise ZeroDivisionError
    assert ended(own) == {}


def test_what_ended_before_there_were_counters_is_in_them(empty_database: str) -> None:
    schema.migrate(empty_database)
    with server_cursor(empty_database) as cursor:
        cursor.execute(
            "INSERT INTO tksva_q.job (form, state, file_name, rows, bytes, attempt, started_at, finished_at)"
            " SELECT 'old', 'done', 'a.csv', 10, 50, 1, now() - interval '90 s', now() FROM generate_series(1, 3)"
        )
    command.downgrade(schema.alembic_config(empty_database), "0002")
    schema.migrate(empty_database)
    with server_cursor(empty_database) as cursor:
        counts = counters.read(cursor)
    assert [(one.form, one.outcome, one.jobs) for one in counts.ended] == [("old", "done", 3)]
    assert counts.rows == {"old": 30}
    assert dict(counters.cumulated(counts.durations[0]))["300"] == 3
    assert counts.durations[0].seconds == pytest.approx(270, abs=1)


def test_the_last_hours_are_there_with_and_without_jobs(own: Database, worker: str) -> None:
    submit(own)
    run(own, worker, Settlement("done", "done"))
    with own.statement() as cursor:
        hours = counters.hours(cursor)
    assert len(hours) == 24
    assert sum(hour.done for hour in hours) == 1
    assert hours[-1].begin - hours[0].begin == datetime.timedelta(hours=23)
    assert 0 <= hours[-1].waited <= hours[-1].waited_longest < 10


def test_two_workers_that_end_their_jobs_together_do_not_wait_for_each_other(
    own: Database, worker: str, database: str
) -> None:
    other = Database(database, "test")
    submit(own)
    submit(own)
    with own.transaction() as cursor:
        first = jobs.claim(cursor, worker, 0)
        assert first is not None
        jobs.settle(cursor, first.fence, None, Settlement("done", "done"))
        run(other, worker, Settlement("done", "done"))  # the first one's transaction is still open
    other.close()
    assert ended(own) == {("empty", "done"): 2}


def test_counts_equal_the_journal_after_200_jobs_three_daemons_and_a_kill(
    start_daemon: Start, own: Database, sql: Queries, tmp_path
) -> None:
    options = {"integrations": "testing", "workers": 2, "heartbeat_seconds": 0.5, "var_dir": tmp_path}
    daemons = [start_daemon(**options) for _ in range(3)]
    for number in range(200):
        if number % 4:
            submit(own)
        else:
            sql.post(f"{number}.csv", form="DownloadForStationForm" if number % 8 else "нет такой")
    wait_for(lambda: sum(one.jobs for one in read(own).ended) > 50)
    daemons[0].kill()
    start_daemon(**options)
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE finished_at IS NOT NULL") == 200)
    journal = sql(
        "SELECT form, outcome, count(*) FROM tksva_q.attempt JOIN tksva_q.job ON job.id = job_id"
        " WHERE outcome IN ('done', 'failed', 'cancelled') GROUP BY 1, 2"
        " UNION ALL SELECT form, state, count(*) FROM tksva_q.job WHERE attempt = 0 GROUP BY 1, 2"
    )
    assert ended(own) == {(form, outcome): jobs for form, outcome, jobs in journal}
    counts = read(own)
    assert sum(counts.present.values()) == 200
    assert counts.rows == {
        "DownloadForStationForm": sql.value("SELECT sum(rows) FROM tksva_q.job WHERE state = 'done' AND rows > 0")
    }
    assert counts.rescued + sum(counts.requeued.values()) >= sql.value(
        "SELECT count(*) FROM tksva_q.attempt WHERE outcome IN ('retry', 'given back')"
    )


def test_the_loop_says_how_long_its_turns_take(start_daemon: Start, sql: Queries) -> None:
    start_daemon(heartbeat_seconds=0.2)
    wait_for(lambda: (sql.value("SELECT max(loop_seconds) FROM tksva_q.worker") or 0) > 0)


def test_two_that_end_jobs_of_two_kinds_in_different_orders_do_not_wait_for_each_other(
    own: Database, sql: Queries, worker: str, database: str
) -> None:
    """Their backends count in the same rows where the numbers of their processes leave the same rest."""
    one, two, two_again, one_again = (submit(own, form) for form in ("one", "two", "two", "one"))
    with own.statement() as cursor:
        while jobs.claim(cursor, worker, 0):
            pass
    end = "UPDATE tksva_q.job SET state = 'done', worker = NULL, slot = NULL, finished_at = now() WHERE id = %s"
    count = "SET CONSTRAINTS ALL IMMEDIATE"  # what the commit does
    with contextlib.ExitStack() as stack:
        opened: dict[int, psycopg2.extensions.cursor] = {}
        while True:
            cursor = stack.enter_context(server_cursor(database))
            cursor.connection.autocommit = False
            share = cursor.connection.info.backend_pid % 16
            if share in opened:
                break
            opened[share] = cursor
        first, second = opened[share], cursor

        def others() -> None:
            for job in (two, one_again):
                second.execute(end, (job,))
            second.execute(count)
            second.connection.commit()

        first.execute(end, (one,))
        first.execute(count)
        thread = threading.Thread(target=others)
        thread.start()
        wait_for(sql.blocked)
        first.execute(end, (two_again,))
        first.connection.commit()
        join(thread)
    assert ended(own) == {("one", "done"): 2, ("two", "done"): 2}
