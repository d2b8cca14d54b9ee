"""A kill ends the job that it was meant for: a child may be at another one by then, or at none."""

from __future__ import annotations

import child
import queueing
from tests.database import Queries
from tests.test_workers import Bench, bench, state
from tests.waiting import wait_for

__all__ = ["bench"]  # a fixture


def begin(bench: Bench, sql: Queries) -> int:
    """Let the first child be at a job that ends when it is told to."""
    job = bench.run("patient")
    bench.until(lambda: bench.crew.slots[0].started)
    return job


def end(bench: Bench, sql: Queries, job: int) -> None:
    """Let that job end, and its child say what comes next; the crew has not heard of it."""
    sql("UPDATE tksva_q.job SET params = '{\"go\": true}' WHERE id = %s", job)
    wait_for(lambda: child.readable(bench.crew.slots[0].channel), 60)


def test_a_kill_that_comes_too_late_is_not_for_the_job_that_followed(bench: Bench, sql: Queries) -> None:
    job = begin(bench, sql)
    with bench.database.transaction() as cursor:
        following = queueing.submit(cursor, "endless", {})
    end(bench, sql, job)
    assert (state(sql, job), state(sql, following)) == ("done", "running")
    bench.crew.kill(0, "cancelled")
    (death,) = bench.deaths(60)
    assert death.started is not None
    assert (death.cause, death.started.job.id) == ("cancelled", job)


def test_a_child_that_is_about_to_die_is_given_nothing_more(bench: Bench, sql: Queries) -> None:
    job = begin(bench, sql)
    end(bench, sql, job)
    dying = bench.crew.slots[0]
    bench.crew.kill(0, "time limit")
    bench.crew.collect()  # that it is idle, and perhaps its death
    assert bench.crew.slots[0] is not dying or bench.crew.idle() == [1]
    bench.until(lambda: bench.crew.idle() == [0, 1])
    assert bench.crew.slots[0] is not dying
    assert state(sql, job) == "done"


def test_a_job_that_a_dying_child_has_lost_is_not_forgotten(bench: Bench, sql: Queries) -> None:
    job = begin(bench, sql)
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tksva_q child 0'")
    end(bench, sql, job)
    dying = bench.crew.slots[0]
    bench.crew.kill(0, "lease lost")
    bench.until(lambda: bench.crew.slots[0] is not dying)
    assert bench.crew.lost() == {0}
    assert state(sql, job) == "running"
