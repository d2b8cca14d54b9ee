"""What becomes of the jobs of the dead."""

from __future__ import annotations

import threading

import pytest

import leases
import progress
import queueing
from db import Database
from errors import LostJob
from leases import Worker
from progress import Progress
from tests.claims import DONE, MAX, certain, expire, give_job, me, other, renew, rescued, settle, take_in, workers
from tests.database import Queries
from tests.waiting import PATIENCE, join

__all__ = ["me"]  # a fixture


def test_a_rescued_job_goes_on_where_it_stopped_and_lets_the_table_go(own: Database, sql: Queries, me: Worker) -> None:
    dead = other(own)
    job = give_job(own, sql, dead, rows=40)
    expire(sql, dead)
    assert rescued(own, me) == [job.id]
    assert not sql.value("SELECT gives_information FROM dwh_tables_info")
    assert sql.value("SELECT task_status FROM post") == "в очереди"
    assert sql("SELECT outcome, reason, rows_before, rows_after FROM tksva_q.attempt") == [
        ("given back", "the worker died", 0, 40)
    ]
    again = certain(own, me.id)
    assert (again.id, again.attempt, again.rows, again.cursor) == (job.id, 2, 40, {"key": 40})


@pytest.mark.parametrize(("rows", "spent"), [(40, 0), (0, 1)])
def test_only_an_attempt_that_moved_costs_nothing(
    own: Database, sql: Queries, me: Worker, rows: int, spent: int
) -> None:
    dead = other(own)
    give_job(own, sql, dead, rows=rows)
    expire(sql, dead)
    rescued(own, me)
    assert sql.value("SELECT spent FROM tksva_q.job") == spent


def test_a_job_that_takes_every_worker_down_fails_after_the_last_attempt(
    own: Database, sql: Queries, me: Worker
) -> None:
    sql.post("a.csv")
    take_in(own)
    for attempt in range(1, MAX + 1):
        dead = other(own)
        job = certain(own, dead.id)
        assert job.attempt == attempt
        expire(sql, dead)
        assert rescued(own, me) == [job.id]
    assert sql("SELECT state, error FROM tksva_q.job") == [("failed", "the worker died")]
    assert sql.value("SELECT task_status FROM post") == "ошибка"
    assert not sql.value("SELECT gives_information FROM dwh_tables_info")


def test_a_job_that_was_cancelled_while_its_worker_died_does_not_come_back(
    own: Database, sql: Queries, me: Worker
) -> None:
    dead = other(own)
    job = give_job(own, sql, dead, rows=10)
    with own.transaction() as cursor:
        queueing.cancel(cursor, job.id)
    expire(sql, dead)
    assert [left.cancel for left in leases.rescue(own, me, MAX)] == [True]
    assert sql.value("SELECT state FROM tksva_q.job") == "cancelled"


def test_every_job_of_a_dead_worker_is_rescued(own: Database, sql: Queries, me: Worker) -> None:
    dead = other(own)
    left = [give_job(own, sql, dead).id for _ in range(3)]
    expire(sql, dead)
    assert rescued(own, me) == left
    assert workers(sql) == {me.id}


def test_two_that_rescue_at_once_take_each_job_back_once(database: str, own: Database, sql: Queries) -> None:
    dead = other(own)
    left = sorted(give_job(own, sql, dead).id for _ in range(10))
    expire(sql, dead)
    taken: list[int] = []
    both = threading.Barrier(3)

    def look() -> None:
        mine = Database(database, "rescuer")
        worker = Worker.this_process(15)
        renew(mine, worker)
        both.wait(PATIENCE)
        taken.extend(rescued(mine, worker))
        mine.close()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert sorted(taken) == left


def test_whoever_was_given_up_writes_nothing_more_even_when_it_is_back(own: Database, sql: Queries, me: Worker) -> None:
    slow = other(own)
    job = give_job(own, sql, slow, rows=10)
    expire(sql, slow)
    rescued(own, me)
    renew(own, slow)
    with pytest.raises(LostJob), own.statement() as cursor:
        progress.record(cursor, job.fence, Progress(20, 100, 2000, {}))
    with pytest.raises(LostJob):
        settle(own, job, DONE)
    assert sql("SELECT state, rows FROM tksva_q.job") == [("waiting", 10)]


def test_the_dead_worker_wakes_the_loops_that_can_go_on(own: Database, sql: Queries, me: Worker) -> None:
    dead = other(own)
    give_job(own, sql, dead)
    expire(sql, dead)
    sql(f"LISTEN {queueing.CHANNEL}")
    sql.connection.notifies.clear()
    rescued(own, me)
    sql("SELECT 1")
    assert sql.connection.notifies
