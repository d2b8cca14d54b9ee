"""Jobs into the queue, out of it and back: whoever asks, against a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import jobs
import queueing
from db import Database
from jobs import Settlement
from queueing import Plan
from tests.claims import certain, claim, settle, take_in, worker
from tests.database import TABLE, Queries
from tests.waiting import wait_for

__all__ = ["worker"]  # a fixture

AT = datetime(2030, 1, 1, 12, tzinfo=UTC)


def submit(own: Database, form: str = "f", **columns: object) -> int:
    with own.transaction() as cursor:
        return queueing.submit(cursor, form, {"имя": "значение"}, **columns)  # type: ignore[arg-type]


def woken(sql: Queries) -> bool:
    """Whether a loop that listens was told since it last looked: what is told comes in its order, so ask for a mark."""
    sql("SELECT pg_notify(%s, 'mark')", queueing.CHANNEL)
    told: list[str] = []

    def marked() -> bool:
        sql.connection.poll()
        told.extend(sql.connection.notifies.pop(0).payload for _ in range(len(sql.connection.notifies)))
        return "mark" in told

    wait_for(marked, 60)
    return told != ["mark"]


@pytest.fixture
def listening(sql: Queries) -> Queries:
    sql(f"LISTEN {queueing.CHANNEL}")
    return sql


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_job_waits_with_what_was_said_of_it(own: Database, sql: Queries) -> None:
    said = {
        "user_id": 2,
        "file_name": "a.csv",
        "dwh_table": TABLE,
        "priority": 7,
        "run_at": AT,
        "time_limit": 60.5,
        "max_attempts": 3,
        "pause_seconds": 0.5,
    }
    job = submit(own, **said, plan=Plan("nightly", AT, held=True))
    said |= {"schedule": "nightly", "planned_at": AT, "held": True, "form": "f", "state": "waiting", "spent": 0}
    assert sql(f"SELECT {', '.join(said)} FROM tksva_q.job WHERE id = %s", job) == [tuple(said.values())]
    assert sql.value("SELECT params ->> 'имя' FROM tksva_q.job") == "значение"


def test_a_job_of_which_nothing_is_said_may_start_at_once(own: Database, sql: Queries, worker: str) -> None:
    number = submit(own)
    job = certain(own, worker)
    assert (job.id, job.time_limit, job.max_attempts, job.pause_seconds, job.schedule) == (number, *[None] * 4)
    assert sql("SELECT priority, post_id, user_id FROM tksva_q.job") == [(5, None, None)]


@pytest.mark.parametrize("columns", [{"run_at": AT}, {"plan": Plan(held=True)}])
def test_a_job_that_is_to_wait_does_not_start(own: Database, worker: str, columns: dict[str, object]) -> None:
    submit(own, **columns)
    assert claim(own, worker) is None


# --- waking the loop --------------------------------------------------------------------------------------------------


def test_the_loop_is_woken_when_the_job_can_be_seen_and_not_before(own: Database, listening: Queries) -> None:
    with own.transaction() as cursor:
        queueing.submit(cursor, "f", {})
        assert not woken(listening)
    assert woken(listening)


def test_a_job_that_is_not_queued_after_all_wakes_nobody(own: Database, listening: Queries) -> None:
    with pytest.raises(KeyError), own.transaction() as cursor:
        queueing.submit(cursor, "f", {})
        raise KeyError
    assert not woken(listening)


def test_a_cancel_and_a_retry_wake_the_loop_too(own: Database, listening: Queries) -> None:
    job = submit(own)
    assert woken(listening)
    with own.transaction() as cursor:
        queueing.cancel(cursor, job)
    assert woken(listening)
    with own.transaction() as cursor:
        queueing.retry(cursor, job)
    assert woken(listening)


# --- cancel, retry ----------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_asked(
    own: Database, sql: Queries, worker: str
) -> None:
    first, second = sql.post("a.csv"), sql.post("b.csv")
    take_in(own)
    job = certain(own, worker)
    waiting = sql.value("SELECT id FROM tksva_q.job WHERE post_id = %s", second)
    with own.transaction() as cursor:
        assert queueing.cancel(cursor, job.id) == "running"
        assert queueing.cancel(cursor, waiting) == "waiting"
        assert queueing.cancel(cursor, waiting) is None
    assert (sql.status(first), sql.status(second)) == ("в очереди", "ошибка")
    with own.statement() as cursor:
        assert jobs.running(cursor, worker)[0].cancel


def test_a_failed_job_is_retried_with_fresh_attempts(own: Database, sql: Queries, worker: str) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    settle(own, job, Settlement("failed", "failed", "…"))
    with own.transaction() as cursor:
        assert queueing.retry(cursor, job.id) == [job.id]
        assert queueing.retry(cursor) == []
    assert sql.status(post) == "в очереди"
    again = certain(own, worker)
    assert (again.id, again.attempt, again.spent) == (job.id, 2, 1)


def test_a_row_queued_anew_by_the_web_ui_is_not_retried_twice(own: Database, sql: Queries, worker: str) -> None:
    post = sql.post("a.csv")
    take_in(own)
    settle(own, certain(own, worker), Settlement("failed", "failed", "…"))
    sql("UPDATE post SET task_status = 'в очереди' WHERE id = %s", post)
    take_in(own)
    with own.transaction() as cursor:
        assert queueing.retry(cursor) == []
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'waiting'") == 1


def test_a_cancelled_job_is_retried_when_it_is_named_and_not_with_all_that_failed(own: Database, sql: Queries) -> None:
    job = submit(own)
    with own.transaction() as cursor:
        assert queueing.cancel(cursor, job) == "waiting"
    assert sql("SELECT state, error, finished_at IS NOT NULL FROM tksva_q.job") == [("cancelled", "отменено", True)]
    with own.transaction() as cursor:
        assert queueing.retry(cursor) == []
        assert queueing.retry(cursor, job) == [job]
    assert sql("SELECT state, error, finished_at, cancel FROM tksva_q.job") == [("waiting", None, None, False)]


def test_a_row_that_its_user_has_hidden_is_not_retried(own: Database, sql: Queries, worker: str) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    settle(own, job, Settlement("failed", "failed", "…"))
    sql("UPDATE post SET task_status = 'скрыта пользователем' WHERE id = %s", post)
    with own.transaction() as cursor:
        assert queueing.retry(cursor, job.id) == []
    assert sql.status(post) == "скрыта пользователем"


def test_a_row_that_its_user_has_hidden_stays_so_when_its_job_is_cancelled(own: Database, sql: Queries) -> None:
    post = sql.post("a.csv")
    take_in(own)
    sql("UPDATE post SET task_status = 'скрыта пользователем' WHERE id = %s", post)
    with own.transaction() as cursor:
        assert queueing.cancel(cursor, sql.value("SELECT id FROM tksva_q.job")) == "waiting"
    assert sql.status(post) == "скрыта пользователем"


def test_only_what_stands_as_it_was_seen_is_retried_of_many(own: Database, sql: Queries, worker: str) -> None:
    ended = []
    for state in ("failed", "cancelled", "done", "failed"):
        with own.transaction() as cursor:
            queueing.submit(cursor, "f", {})
        job = certain(own, worker)
        settle(own, job, Settlement(state, state, "…"))  # type: ignore[arg-type]
        ended.append((job.id, job.attempt))
    first, second, third, fourth = ended
    with own.transaction() as cursor:
        assert queueing.retry_seen(cursor, []) == []
        assert queueing.retry_seen(cursor, [first, second, third, (fourth[0], 7)]) == [first[0], second[0]]
        assert queueing.retry_seen(cursor, [first, fourth]) == [fourth[0]]
