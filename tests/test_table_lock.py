"""The agreement with the Inspector: `gives_information` is true exactly while a job reads the table."""

from __future__ import annotations

import threading

import pytest

import jobs
import table_lock
from db import Database
from inbox import Inbox
from jobs import Job, Settlement
from tests.claims import certain, claim, new_worker, settle, worker
from tests.database import TABLE, Queries
from tests.waiting import join, wait_for

__all__ = ["worker"]  # a fixture

OTHER = "audit.other"


@pytest.fixture
def two_tables(sql: Queries) -> None:
    sql("INSERT INTO dwh_tables_info VALUES (%s, '{}', localtimestamp, false, localtimestamp, false)", OTHER)


def queue(own: Database, sql: Queries, *tables: str | None) -> None:
    """Queue one job for each table, in this order."""
    for number, table in enumerate(tables):
        sql.post("a.csv", form=table, timestamp=f"timestamp '2024-01-01' + interval '{number} s'")
    Inbox(lambda request: request.form).take_in(own)


def marks(sql: Queries) -> dict[str, bool]:
    return dict(sql("SELECT dwh_table_name, gives_information FROM dwh_tables_info"))


@pytest.mark.usefixtures("two_tables")
def test_only_the_table_that_is_read_is_marked(own: Database, sql: Queries, worker: str) -> None:
    queue(own, sql, TABLE)
    certain(own, worker)
    assert marks(sql) == {TABLE: True, OTHER: False}
    assert sql.value(
        "SELECT localtimestamp - gives_information_timestamp < interval '10 s' FROM dwh_tables_info"
        " WHERE gives_information"
    )


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "waiting"])
def test_the_mark_goes_however_the_job_ends(own: Database, sql: Queries, worker: str, state: str) -> None:
    queue(own, sql, TABLE)
    outcome = "retry" if state == "waiting" else state
    settle(own, certain(own, worker), Settlement(state, outcome))  # type: ignore[arg-type]
    assert marks(sql) == {TABLE: False}


def test_a_job_that_reads_no_table_marks_none(own: Database, sql: Queries, worker: str) -> None:
    queue(own, sql, None)
    job = certain(own, worker)
    assert marks(sql) == {TABLE: False}
    settle(own, job)


@pytest.mark.usefixtures("two_tables")
def test_a_wish_holds_back_the_jobs_of_its_own_table_only(own: Database, sql: Queries, worker: str) -> None:
    queue(own, sql, TABLE, OTHER)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true WHERE dwh_table_name = %s", TABLE)
    assert certain(own, worker).dwh_table == OTHER
    assert claim(own, worker) is None
    assert marks(sql) == {TABLE: False, OTHER: True}


def test_a_wish_that_comes_during_a_job_lets_it_end_and_no_other_start(
    own: Database, sql: Queries, worker: str
) -> None:
    queue(own, sql, TABLE, TABLE)
    job = certain(own, worker)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true")
    assert claim(own, worker) is None
    assert marks(sql) == {TABLE: True}
    settle(own, job)
    assert marks(sql) == {TABLE: False}
    assert claim(own, worker) is None


def test_nulls_of_an_inspector_that_has_never_run_are_no_wish(own: Database, sql: Queries, worker: str) -> None:
    sql(
        "UPDATE dwh_tables_info SET wants_to_refresh = NULL, wants_to_refresh_timestamp = NULL,"
        " gives_information = NULL, gives_information_timestamp = NULL"
    )
    queue(own, sql, TABLE)
    job = certain(own, worker)
    assert job.table_version is None
    assert marks(sql) == {TABLE: True}
    settle(own, job)
    assert marks(sql) == {TABLE: False}


def test_every_swap_gives_the_table_another_version(own: Database, sql: Queries, worker: str) -> None:
    queue(own, sql, TABLE, TABLE, TABLE)
    first, second = certain(own, worker), certain(own, worker)
    assert first.table_version == second.table_version
    for job in (first, second):
        settle(own, job)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true, wants_to_refresh_timestamp = clock_timestamp()")
    sql("UPDATE dwh_tables_info SET wants_to_refresh = false, wants_to_refresh_timestamp = clock_timestamp()")
    assert certain(own, worker).table_version != first.table_version


def test_stale_marks_go_and_those_of_running_jobs_stay(own: Database, sql: Queries, worker: str) -> None:
    sql("INSERT INTO dwh_tables_info (dwh_table_name, gives_information) VALUES (%s, true)", OTHER)
    queue(own, sql, TABLE)
    certain(own, worker)
    with own.transaction() as cursor:
        assert table_lock.release_stale(cursor) == [OTHER]
        assert table_lock.release_stale(cursor) == []
    assert marks(sql) == {TABLE: True, OTHER: False}


def test_without_marks_nothing_is_stale_and_no_row_changes(own: Database, sql: Queries) -> None:
    before = sql("SELECT xmin, ctid FROM dwh_tables_info")
    with own.transaction() as cursor:
        assert table_lock.release_stale(cursor) == []
    assert sql("SELECT xmin, ctid FROM dwh_tables_info") == before


def test_a_claim_that_is_not_committed_yet_keeps_its_mark(
    own: Database, sql: Queries, worker: str, database: str
) -> None:
    """Whoever looks for stale marks at that moment waits, and then sees the job."""
    queue(own, sql, TABLE)
    sql("UPDATE dwh_tables_info SET gives_information = true")
    stale: list[list[str]] = []

    def look() -> None:
        mine = Database(database, "looker")
        with mine.transaction() as cursor:
            stale.append(table_lock.release_stale(cursor))
        mine.close()

    looking = threading.Thread(target=look)
    with own.transaction() as cursor:
        assert jobs.claim(cursor, worker, 0)
        looking.start()
        wait_for(sql.blocked)
    join(looking)
    assert stale == [[]]
    assert marks(sql) == {TABLE: True}


def test_two_jobs_that_end_at_the_same_moment_take_the_mark_away(
    own: Database, sql: Queries, worker: str, database: str
) -> None:
    queue(own, sql, TABLE, TABLE)
    first, second = certain(own, worker), certain(own, worker)
    other = Database(database, "other")
    ending = threading.Thread(target=settle, args=(other, second))
    with own.transaction() as cursor:
        jobs.settle(cursor, first.fence, TABLE, Settlement("done", "done"))
        ending.start()
        wait_for(sql.blocked)
    join(ending)
    other.close()
    assert marks(sql) == {TABLE: False}


def test_a_job_that_starts_while_the_last_one_ends_keeps_the_table_marked(
    own: Database, sql: Queries, worker: str, database: str
) -> None:
    queue(own, sql, TABLE, TABLE)
    first = certain(own, worker)
    other = Database(database, "other")
    claimed: list[Job | None] = []
    starting = threading.Thread(target=lambda: claimed.append(claim(other, worker)))
    with own.transaction() as cursor:
        jobs.settle(cursor, first.fence, TABLE, Settlement("done", "done"))
        starting.start()
        wait_for(sql.blocked)
    join(starting)
    other.close()
    assert claimed[0] is not None
    assert marks(sql) == {TABLE: True}


def test_the_inspector_and_the_queue_never_hold_the_table_together(database: str, own: Database, sql: Queries) -> None:
    """His protocol, driven by a second program while jobs start and end."""
    sql("INSERT INTO tksva_q.job (form, params, dwh_table) SELECT 'f', '{}', %s FROM generate_series(1, 20000)", TABLE)
    trespasses, stop = [], threading.Event()
    marked = "SELECT gives_information FROM dwh_tables_info"

    def work() -> None:
        mine = Database(database, "worker")
        me = new_worker(mine, 60)
        while not stop.is_set():
            job = claim(mine, me)
            if job is None:
                continue
            if sql_of_worker(mine, "SELECT wants_to_refresh AND NOT gives_information FROM dwh_tables_info"):
                trespasses.append("a job runs on a table that the Inspector takes for free")
            settle(mine, job)
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            wait_for(lambda: sql.value(marked))
            sql("UPDATE dwh_tables_info SET wants_to_refresh = true, wants_to_refresh_timestamp = localtimestamp")
            wait_for(lambda: not sql.value(marked))
            for _ in range(5):
                if sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'running'"):
                    trespasses.append("a job runs during a swap")
            sql("UPDATE dwh_tables_info SET wants_to_refresh = false, wants_to_refresh_timestamp = localtimestamp")
    finally:
        stop.set()
        join(*threads)
    assert trespasses == []
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") >= 60


def sql_of_worker(own: Database, query: str) -> object:
    with own.statement() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    assert row is not None
    return row[0]
