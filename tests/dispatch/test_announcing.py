"""Which waiting jobs are announced, when they are announced again, and what is forgotten."""

from __future__ import annotations

import dispatch
import jobs
from db import Database
from tests.conftest import TABLE, Queries
from tests.dispatch.conftest import submit

NEVER = "-infinity"


def announce(own: Database, since: str = NEVER) -> list[int]:
    """Announce what is due, as the dispatcher does."""
    with own.transaction() as cursor:
        waiting = dispatch.due(cursor, since)
        dispatch.sent(cursor, waiting)
    return [one.job_id for one in waiting]


def test_what_may_be_claimed_is_due_in_the_order_of_claims(own: Database, sql: Queries) -> None:
    low, usual, high = (submit(own, priority=priority)[0] for priority in (1, 5, 10))
    again = submit(own)[0]
    later, held, refreshed = submit(own, count=3)
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour' WHERE id = %s", later)
    sql("UPDATE tksva_q.job SET held = true WHERE id = %s", held)
    sql("UPDATE tksva_q.job SET dwh_table = %s WHERE id = %s", TABLE, refreshed)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true")
    assert announce(own) == [high, usual, again, low]
    assert announce(own) == []
    sql("UPDATE dwh_tables_info SET wants_to_refresh = false; UPDATE tksva_q.job SET held = false")
    assert announce(own) == [held, refreshed]


def test_only_the_first_ones_are_announced_ahead(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=dispatch.WINDOW + 50)
    assert announce(own) == waiting[: dispatch.WINDOW]
    assert announce(own) == []
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE id <= %s", waiting[9])
    assert announce(own) == waiting[dispatch.WINDOW : dispatch.WINDOW + 10]


def test_after_a_new_connection_everything_is_due_again(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=3)
    announce(own)
    assert announce(own, str(sql.value("SELECT clock_timestamp()::text"))) == waiting


def test_a_job_that_has_run_and_waits_again_is_due_when_its_pause_is_over(own: Database, sql: Queries) -> None:
    (job,) = submit(own)
    announce(own)
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour'")
    assert announce(own) == []
    sql("UPDATE tksva_q.job SET run_at = clock_timestamp()")
    assert announce(own) == [job]


def test_a_message_that_was_used_up_for_another_job_is_replaced(own: Database) -> None:
    first, second = submit(own, count=2)
    announce(own)
    with own.statement() as cursor:
        dispatch.used_up(cursor, second)
        dispatch.used_up(cursor, 10**9)
    assert announce(own) == [second]
    assert first


def test_a_message_that_is_used_up_before_it_is_noted_is_replaced_as_well(own: Database) -> None:
    """The worker may be quicker than the broker's confirmation."""
    (job,) = submit(own)
    with own.statement() as cursor:
        waiting = dispatch.due(cursor, NEVER)
    with own.statement() as cursor:
        dispatch.used_up(cursor, job)
    with own.transaction() as cursor:
        dispatch.sent(cursor, waiting)
    assert announce(own) == [job]


def test_the_very_first_ones_are_repeated_after_a_while_and_no_more(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=30)
    announce(own)
    sql("UPDATE tksva_q.job SET run_at = run_at - interval '1 hour'")
    sql("UPDATE tksva_q.dispatch SET sent_at = sent_at - make_interval(secs => %s)", dispatch.REPEAT_SECONDS + 1)
    assert announce(own) == waiting[: dispatch.REPEATED]


def test_jobs_that_do_not_wait_any_more_are_forgotten(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=3)
    announce(own)
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE id = %s", waiting[0])
    submit(own)
    announce(own)
    assert sql("SELECT count(*), min(job_id) FROM tksva_q.dispatch") == [(3, waiting[1])]


def test_a_mark_keeps_nobody_from_claiming_the_job(own: Database, database: str, sql: Queries) -> None:
    """A claim passes over rows that are being written: a mark on the job would let a later one overtake it."""
    first, _ = submit(own, count=2)
    sql("INSERT INTO tksva_q.worker (id, host, process, lease_seconds) VALUES (gen_random_uuid(), '', '1:1', 60)")
    other = Database(database, "other")
    with own.transaction() as cursor:
        dispatch.sent(cursor, dispatch.due(cursor, NEVER))
        with other.statement() as theirs:
            claimed = jobs.claim(theirs, str(sql.value("SELECT id FROM tksva_q.worker")), 0)
    other.close()
    assert claimed is not None
    assert claimed.id == first
