"""Which waiting jobs are announced, when they are announced again, and what is forgotten."""

from __future__ import annotations

import dispatch
import jobs
from db import Database
from tests.database import TABLE, Queries
from tests.dispatch.conftest import submit
from tests.plans import history, whole_reads


def announce(own: Database) -> list[int]:
    with own.statement() as cursor:
        return dispatch.next_ones(cursor)


def take(own: Database, *job_ids: int) -> None:
    """Have a worker take the messages of these jobs."""
    with own.transaction() as cursor:
        for job_id in job_ids:
            dispatch.taken(cursor, job_id)


def end(sql: Queries, *job_ids: int) -> None:
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE id = ANY(%s)", list(job_ids))


def test_what_may_be_claimed_is_announced_in_the_order_of_claims(own: Database, sql: Queries) -> None:
    low, usual, high = (submit(own, priority=priority)[0] for priority in (1, 5, 10))
    again = submit(own)[0]
    later, held, refreshed = submit(own, count=3)
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour' WHERE id = %s", later)
    sql("UPDATE tksva_q.job SET held = true WHERE id = %s", held)
    sql("UPDATE tksva_q.job SET dwh_table = %s WHERE id = %s", TABLE, refreshed)
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true")
    assert set(announce(own)) == {high, usual, again, low}
    assert announce(own) == []
    sql("UPDATE dwh_tables_info SET wants_to_refresh = false; UPDATE tksva_q.job SET held = false")
    assert set(announce(own)) == {held, refreshed}


def test_the_broker_has_no_more_messages_than_can_wake_somebody(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=dispatch.WINDOW + 50)
    urgent = submit(own, priority=10)
    first = announce(own)
    assert set(first) == {*urgent, *waiting[: dispatch.WINDOW - 1]}
    end(sql, *first)  # by children that went on by themselves: their messages are in the broker still
    assert announce(own) == []
    with own.statement() as cursor:
        assert dispatch.is_full(cursor)
    take(own, *first[:10])
    assert len(announce(own)) == 10


def test_a_message_that_led_to_another_job_is_replaced(own: Database) -> None:
    _, second = submit(own, count=2)
    announce(own)
    take(own, second, 10**9)
    assert announce(own) == [second]


def test_a_job_that_has_run_and_waits_again_is_announced_when_its_pause_is_over(own: Database, sql: Queries) -> None:
    (job,) = submit(own)
    announce(own)
    take(own, job)
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour'")
    assert announce(own) == []
    sql("UPDATE tksva_q.job SET run_at = now()")
    assert announce(own) == [job]


def test_a_job_that_has_run_without_its_message_is_announced_again_at_once(own: Database, sql: Queries) -> None:
    """The message may be with a worker that was cut off, as the job was."""
    jobs_of_it = submit(own, count=2)
    announce(own)
    sql("UPDATE tksva_q.job SET run_at = now() WHERE id = %s", jobs_of_it[0])  # as at the end of an attempt
    assert announce(own) == [jobs_of_it[0]]
    assert announce(own) == []
    assert sql.value("SELECT count(*) FROM tksva_q.dispatch") == 2


def test_a_new_connection_begins_with_nothing(own: Database) -> None:
    waiting = submit(own, count=3)
    announce(own)
    with own.statement() as cursor:
        dispatch.forget(cursor)
    assert set(announce(own)) == set(waiting)


def test_a_few_of_those_that_nobody_takes_are_sent_again(own: Database, sql: Queries) -> None:
    waiting = submit(own, count=dispatch.FEW + 10)
    announce(own)
    with own.statement() as cursor:
        dispatch.expire(cursor)
    assert announce(own) == []
    for moment in ("tksva_q.dispatch SET sent_at = sent_at", "tksva_q.job SET run_at = run_at"):
        sql(f"UPDATE {moment} - make_interval(secs => %s)", dispatch.LOST_SECONDS + 1)
    with own.statement() as cursor:
        dispatch.expire(cursor)
    assert len(announce(own)) == dispatch.FEW
    assert len(waiting) == sql.value("SELECT count(*) FROM tksva_q.dispatch")


def test_a_note_keeps_nobody_from_claiming_the_job(own: Database, database: str, sql: Queries) -> None:
    """A claim passes over rows that are being written: a mark on the job would let a later one overtake it."""
    first, _ = submit(own, count=2)
    sql("INSERT INTO tksva_q.worker (id, host, process, lease_seconds) VALUES (gen_random_uuid(), '', '1:1', 60)")
    other = Database(database, "other")
    with own.transaction() as cursor:
        assert first in dispatch.next_ones(cursor)
        with other.statement() as theirs:
            claimed = jobs.claim(theirs, str(sql.value("SELECT id FROM tksva_q.worker")), 0)
    other.close()
    assert claimed is not None
    assert claimed.id == first


def test_to_announce_reads_no_history(own: Database, sql: Queries) -> None:
    history(sql)
    submit(own, count=500)
    sql("ANALYZE tksva_q.job")
    before = whole_reads(own, sql)
    for _ in range(12):  # PostgreSQL makes up its mind about a prepared statement after a few
        take(own, *announce(own)[:100])
        with own.statement() as cursor:
            dispatch.is_full(cursor)
            dispatch.expire(cursor)
    assert whole_reads(own, sql) == before
