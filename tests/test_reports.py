"""What there is to see, read from a real PostgreSQL: right, and quick however many jobs have ended."""

from __future__ import annotations

import itertools
import uuid

import pytest

import jobs
import leases
import progress
import reports
from db import Database
from inbox import Inbox
from jobs import Settlement
from progress import PageRecord, Progress
from reports import Filter
from tests.database import TABLE, Queries


def status(own: Database) -> reports.Status:
    with own.transaction() as cursor:
        return reports.status(cursor)


def listed(own: Database, wanted: Filter, page: int = 1, size: int = 50) -> reports.JobPage:
    with own.statement() as cursor:
        return reports.list_jobs(cursor, wanted, page, size)


def show(own: Database, job_id: int, pages: int = 20) -> reports.JobDetail:
    with own.transaction() as cursor:
        detail = reports.show(cursor, job_id, pages)
    assert detail is not None
    return detail


def claim(own: Database) -> jobs.Job:
    me = leases.Worker(str(uuid.uuid4()), "machine boot pid:[1]", "41:7", 15)
    with own.transaction() as cursor:
        me.renew(cursor)
        job = jobs.claim(cursor, me.id, 0)
    assert job is not None
    return job


def add(sql: Queries, state: str, form: str = "A", user: int = 1, count: int = 1) -> None:
    ended = "now()" if state in {"done", "failed", "cancelled"} else "NULL"
    worker = f"'{uuid.uuid4()}'" if state == "running" else "NULL"
    sql(
        "INSERT INTO tksva_q.job (form, user_id, state, finished_at, worker)"
        f" SELECT '{form}', {user}, '{state}', {ended}, {worker} FROM generate_series(1, {count})"
    )


def test_an_empty_queue_is_all_noughts(own: Database) -> None:
    now = status(own)
    assert (now.waiting, now.paused, now.incoming, now.failed, now.running, now.workers) == (0, 0, 0, 0, (), ())
    assert (now.oldest_waiting_seconds, now.last_loop_seconds) == (None, None)
    assert [(table.name, table.wants_to_refresh, table.gives_information) for table in now.tables] == [
        (TABLE, False, False)
    ]


def test_what_waits_runs_and_failed_is_counted(own: Database, sql: Queries) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        sql.post(name, timestamp="localtimestamp - interval '1 hour'")
    Inbox(lambda _: TABLE).take_in(own)
    sql.post("not yet seen.csv")
    add(sql, "failed", count=3)
    job = claim(own)
    with own.transaction() as cursor:
        progress.record(cursor, job.fence, Progress(5, 20, 100, {}))
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour' WHERE file_name = 'c.csv'")
    now = status(own)
    assert (now.waiting, now.paused, now.incoming, now.failed) == (2, 1, 1, 3)
    assert now.oldest_waiting_seconds == pytest.approx(3600, abs=30)
    assert [(row.id, row.rows, row.total, row.share) for row in now.running] == [(job.id, 5, 20, 0.25)]
    assert [table.gives_information for table in now.tables] == [True]


def test_the_last_loop_is_the_newest_of_all_queue_managers(own: Database, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.worker (id, host, process, lease_seconds, seen_at, loop_at) VALUES"
        " (gen_random_uuid(), 'one boot pid:[1]', '41:7', 15, now(), now() - interval '2 s'),"
        " (gen_random_uuid(), 'two boot pid:[1]', '42:7', 15, now() - interval '60 s', now() - interval '60 s')"
    )
    now = status(own)
    assert now.last_loop_seconds == pytest.approx(2, abs=1.5)
    assert sorted((worker.host, worker.pid, worker.alive) for worker in now.workers) == [
        ("one", 41, True),
        ("two", 42, False),
    ]


def test_a_list_shows_the_newest_first_page_by_page(own: Database, sql: Queries) -> None:
    for state in ("done", "failed", "cancelled", "waiting", "running"):
        add(sql, state, count=2)
    pages = [listed(own, Filter(), number, size=4) for number in (1, 2, 3, 4)]
    assert [[row.id for row in page.jobs] for page in pages] == [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1], []]
    assert [page.more for page in pages] == [True, True, False, False]


def test_a_filter_lets_through_what_fulfils_all_of_it(own: Database, sql: Queries) -> None:
    for each in itertools.product(reports.STATES, ("A", "B"), (1, 2)):
        add(sql, *each)
    for state, form, user in itertools.product((None, *reports.STATES), (None, "A", "B"), (None, 1, 2)):
        found = listed(own, Filter(state, form, user)).jobs
        assert len(found) == (1 if state else 5) * (1 if form else 2) * (1 if user else 2)
        assert {row.state for row in found} == ({state} if state else set(reports.STATES))
        assert {row.form for row in found} == ({form} if form else {"A", "B"})
        assert {row.user_id for row in found} == ({user} if user else {1, 2})


@pytest.fixture
def history(sql: Queries) -> None:
    """Two hundred thousand ended jobs, few of them of one form and one user."""
    sql("SET session_replication_role = replica")  # no triggers: the history is not what is tested
    sql(
        "INSERT INTO tksva_q.job (form, user_id, state, finished_at, file_name)"
        " SELECT CASE WHEN g % 50000 = 0 THEN 'rare' ELSE 'usual' END, CASE WHEN g % 40000 = 0 THEN 9 ELSE g % 5 END,"
        "   CASE WHEN g % 100 = 0 THEN 'failed' ELSE 'done' END, now(), g || '.csv'"
        " FROM generate_series(1, 200000) g"
    )
    sql("VACUUM ANALYZE tksva_q.job")


@pytest.mark.usefixtures("history")
def test_no_list_reads_the_whole_history(own: Database, sql: Queries) -> None:
    add(sql, "waiting", count=20)
    read = (
        "SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid)) FROM pg_class"
        " WHERE relnamespace = 'tksva_q'::regnamespace"
    )
    for wanted in (
        Filter(),
        *(Filter(state=state) for state in reports.STATES),
        Filter(form="usual"),
        Filter(form="rare"),
        Filter(form="absent"),
        Filter(user_id=1),
        Filter(user_id=9),
        Filter(user_id=10),
        Filter("done", "rare"),
        Filter("failed", None, 9),
        Filter("cancelled", "usual", 1),
    ):
        with own.transaction() as cursor:
            reports.list_jobs(cursor, wanted)
            cursor.execute(read)
            (read_tuples,) = cursor.fetchone() or (0,)
        assert 0 < read_tuples < 2000, wanted


@pytest.mark.usefixtures("history")
def test_the_glance_costs_what_waits_runs_and_failed(sql: Queries) -> None:
    for query in (reports._COUNTS, reports._RUNNING):
        assert "Seq Scan on job" not in "\n".join(row[0] for row in sql("EXPLAIN " + query))


def test_a_job_is_shown_with_every_attempt_and_what_its_pages_took(own: Database, sql: Queries) -> None:
    sql.post("a.csv")
    Inbox(lambda _: TABLE).take_in(own)
    first = claim(own)
    with own.transaction() as cursor:
        page = PageRecord(1, 5, 50, {"fetch": 0.5, "page": 0.75})
        progress.record(cursor, first.fence, Progress(5, 10, 50, {}, page))
        jobs.settle(cursor, first.fence, TABLE, Settlement("waiting", "retry", "the warehouse is away"))
    second = claim(own)
    with own.transaction() as cursor:
        progress.record(cursor, second.fence, Progress(9, 10, 90, {}, PageRecord(2, 4, 40, {"fetch": 0.25})))
        progress.record(cursor, second.fence, Progress(10, 10, 100, {}, PageRecord(3, 1, 10, {"fetch": 0.25})))
        jobs.settle(cursor, second.fence, TABLE, Settlement("done", "done"))
    detail = show(own, first.id)
    assert [
        (attempt.number, attempt.host, attempt.outcome, attempt.reason, attempt.rows_before, attempt.rows_after)
        for attempt in detail.attempts
    ] == [(1, "machine", "retry", "the warehouse is away", 0, 5), (2, "machine", "done", None, 5, 10)]
    assert [(page.attempt, page.number, page.rows) for page in detail.pages] == [(1, 1, 5), (2, 2, 4), (2, 3, 1)]
    assert (detail.page_count, detail.seconds) == (3, {"fetch": 1.0, "page": 0.75})
    assert (detail.job.state, detail.table) == ("done", TABLE)
    assert [page.number for page in show(own, first.id, pages=2).pages] == [2, 3]


def test_a_job_that_does_not_exist_is_none(own: Database) -> None:
    with own.transaction() as cursor:
        assert reports.show(cursor, 2**62) is None


def test_the_share_of_a_job_is_between_nothing_and_all(own: Database, sql: Queries) -> None:
    add(sql, "running")
    shares: list[float] = []
    for rows, total in (("0", "NULL"), ("1", "4"), ("9", "4"), ("0", "0")):
        sql(f"UPDATE tksva_q.job SET rows = {rows}, total = {total}")
        shares.append(status(own).running[0].share)
    assert shares == [0.0, 0.25, 1.0, 1.0]
