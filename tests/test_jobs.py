"""The life of a job, statement by statement, against a real PostgreSQL."""

from __future__ import annotations

import threading
import uuid

import pytest

import jobs
import queueing
from db import Database
from errors import LostJob
from inbox import Inbox, Request
from jobs import Fence, Settlement
from tests.claims import DONE, POSITION, certain, claim, new_worker, record, settle, take_in, worker
from tests.database import TABLE, Queries, locked
from tests.waiting import join, wait_for

__all__ = ["worker"]  # a fixture


def test_the_oldest_timestamp_is_claimed_first_and_ties_go_by_id(own: Database, sql: Queries, worker: str) -> None:
    late = sql.post("a.csv", timestamp="timestamp '2024-01-03'")
    tie = sql.post("b.csv", timestamp="timestamp '2024-01-02'")
    second_tie = sql.post("c.csv", timestamp="timestamp '2024-01-02'")
    first = sql.post("d.csv", timestamp="timestamp '2024-01-01'")
    take_in(own)
    claimed = [certain(own, worker).post_id for _ in range(4)]
    assert claimed == [first, tie, second_tie, late]
    assert claim(own, worker) is None


def test_a_greater_priority_goes_before_an_older_job(own: Database, worker: str) -> None:
    with own.transaction() as cursor:
        low = queueing.submit(cursor, "empty", {}, priority=1)
        high = queueing.submit(cursor, "empty", {}, priority=10)
    assert [certain(own, worker).id, certain(own, worker).id] == [high, low]


def test_a_claim_counts_the_attempt_and_locks_the_table(own: Database, sql: Queries, worker: str) -> None:
    sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    assert (job.attempt, job.spent, job.dwh_table) == (1, 1, TABLE)
    assert locked(sql)
    assert sql("SELECT attempt, outcome FROM tksva_q.attempt WHERE job_id = %s", job.id) == [(1, None)]


def test_no_job_starts_on_a_table_that_wants_to_be_refreshed(own: Database, sql: Queries, worker: str) -> None:
    sql.post("a.csv")
    other = sql.post("b.csv", form="free")
    take_in(own)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true")
    assert certain(own, worker).post_id == other
    assert claim(own, worker) is None
    assert not locked(sql)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = false")
    assert certain(own, worker).dwh_table == TABLE


def test_a_claim_that_waits_for_the_inspector_sees_his_wish(own: Database, sql: Queries, worker: str) -> None:
    sql.post("a.csv")
    take_in(own)
    sql("BEGIN")
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true")
    result: list[jobs.Job | None] = []
    claiming = threading.Thread(target=lambda: result.append(claim(own, worker)))
    claiming.start()
    wait_for(sql.blocked)
    sql("COMMIT")
    join(claiming)
    assert result == [None]
    assert not locked(sql)


def test_a_table_without_a_row_is_read_without_a_lock(own: Database, sql: Queries, worker: str) -> None:
    sql("DELETE FROM dwh_tables_info")
    sql.post("a.csv")
    take_in(own)
    settle(own, certain(own, worker))


def test_the_lock_lasts_as_long_as_one_job_reads(own: Database, sql: Queries, worker: str) -> None:
    for name in ("a.csv", "b.csv"):
        sql.post(name)
    take_in(own)
    first, second = certain(own, worker), certain(own, worker)
    settle(own, first)
    assert locked(sql)
    settle(own, second)
    assert not locked(sql)


def test_parallel_jobs_that_end_together_leave_no_lock(database: str, sql: Queries) -> None:
    for number in range(40):
        sql.post(f"{number}.csv")
    own = Database(database, "taker")
    take_in(own)

    def work() -> None:
        mine = Database(database, "worker")
        me = new_worker(mine)
        while job := claim(mine, me):
            settle(mine, job)
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads)
    own.close()
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done' AND attempt = 1") == 40
    assert not locked(sql)


def test_a_job_is_claimed_once_however_many_claim(database: str, sql: Queries) -> None:
    own = Database(database, "taker")
    sql.post("a.csv", form="free")
    take_in(own)
    claimed: list[jobs.Job] = []

    def attempt() -> None:
        mine = Database(database, "worker")
        job = claim(mine, new_worker(mine))
        if job:
            claimed.append(job)
        mine.close()

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    own.close()
    assert len(claimed) == 1


@pytest.mark.parametrize("fence", ["attempt", "worker"])
def test_nothing_is_written_for_whoever_does_not_own_the_attempt(
    own: Database, sql: Queries, worker: str, fence: str
) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    wrong = Fence(job.id, job.attempt - (fence == "attempt"), str(uuid.uuid4()) if fence == "worker" else job.worker)
    with pytest.raises(LostJob):
        record(own, wrong)
    with pytest.raises(LostJob), own.transaction() as cursor:
        jobs.settle(cursor, wrong, job.dwh_table, DONE)
    assert sql.status(post) == "в очереди"
    assert sql("SELECT state, rows FROM tksva_q.job") == [("running", 0)]


def test_a_worker_whose_lease_has_run_out_neither_claims_nor_records(own: Database, sql: Queries, worker: str) -> None:
    for name in ("a.csv", "b.csv"):
        sql.post(name)
    take_in(own)
    job = certain(own, worker)
    sql("UPDATE tksva_q.worker SET seen_at = seen_at - interval '16 seconds'")
    with pytest.raises(LostJob):
        record(own, job.fence)
    assert claim(own, worker) is None


def test_a_retry_waits_for_its_pause_and_goes_on_from_its_cursor(own: Database, sql: Queries, worker: str) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    record(own, job.fence)
    settle(own, job, Settlement("waiting", "retry", "the warehouse is away", delay=60))
    assert sql.status(post) == "в очереди"
    assert not locked(sql)
    assert claim(own, worker) is None
    sql("UPDATE tksva_q.job SET run_at = now()")
    again = certain(own, worker)
    assert (again.attempt, again.spent, again.cursor, again.rows) == (2, 2, POSITION, 5)
    assert sql("SELECT outcome, reason, rows_after FROM tksva_q.attempt WHERE attempt = 1") == [
        ("retry", "the warehouse is away", 5)
    ]


def test_a_job_that_is_given_back_keeps_its_place_and_its_attempt(own: Database, sql: Queries, worker: str) -> None:
    sql.post("a.csv", timestamp="timestamp '2024-01-01'")
    sql.post("b.csv")
    take_in(own)
    job = certain(own, worker)
    settle(own, job, Settlement("waiting", "given back", "the worker stops", refund=True))
    again = certain(own, worker)
    assert (again.id, again.attempt, again.spent) == (job.id, 2, 1)


@pytest.mark.parametrize(
    ("state", "status"), [("done", "файл подготовлен"), ("failed", "ошибка"), ("cancelled", "ошибка")]
)
def test_the_end_of_a_job_is_told_in_the_contracts_words(
    own: Database, sql: Queries, worker: str, state: str, status: str
) -> None:
    post = sql.post("a.csv")
    take_in(own)
    settle(own, certain(own, worker), Settlement(state, state, None))  # type: ignore[arg-type]
    assert sql.status(post) == status
    assert sql.value("SELECT cursor IS NULL AND finished_at IS NOT NULL FROM tksva_q.job")


def test_a_restart_forgets_where_the_job_was(own: Database, sql: Queries, worker: str) -> None:
    sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    record(own, job.fence)
    settle(own, job, Settlement("waiting", "retry", "disk full", restart=True, chunk_size=100))
    again = certain(own, worker)
    assert (again.cursor, again.rows, again.chunk_size) == (None, 0, 100)


def test_the_claim_touches_few_rows_whatever_the_history(own: Database, sql: Queries, worker: str) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, finished_at) SELECT 'old', 'done', now() FROM generate_series(1, 50000);"
        "INSERT INTO tksva_q.job (form, queued_at) SELECT 'new', localtimestamp - g * interval '1 s'"
        " FROM generate_series(1, 5000) g; ANALYZE tksva_q.job"
    )
    plan = "\n".join(
        row[0]
        for row in sql("EXPLAIN " + jobs._CLAIM.text.replace("%(worker)s", f"'{worker}'").replace("%(slot)s", "0"))
    )
    assert "Seq Scan on job" not in plan
    assert "job_waiting" in plan


def test_requests_reach_the_examiner_as_they_were_written(own: Database, sql: Queries) -> None:
    seen: list[Request] = []

    def examine(request: Request) -> None:
        seen.append(request)

    post = sql.post("a.csv", conditions='{"station_name":  "\\u0000"}')
    Inbox(examine).take_in(own)
    assert seen == [Request(post, 1, "DownloadForStationForm", '{"station_name":  "\\u0000"}', "a.csv")]


@pytest.mark.parametrize("outcome", ["retry", "given back"])
def test_a_job_that_was_cancelled_meanwhile_does_not_wait_for_another_attempt(
    own: Database, sql: Queries, worker: str, outcome: str
) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    with own.statement() as cursor:
        assert queueing.cancel(cursor, job.id) == "running"
    with own.transaction() as cursor:
        end = jobs.settle(cursor, job.fence, job.dwh_table, Settlement("waiting", outcome, "…", refund=True))  # type: ignore[arg-type]
    assert end == jobs.CANCELLED
    assert sql("SELECT state, error, worker, finished_at IS NOT NULL FROM tksva_q.job") == [
        ("cancelled", "отменено", None, True)
    ]
    assert sql("SELECT outcome FROM tksva_q.attempt") == [("cancelled",)]
    assert sql.status(post) == "ошибка"
    assert not locked(sql)
