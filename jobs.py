"""The life of a job with its worker: claim and settle; how far it is in between, `progress.py` records.

What others do to it is in `queueing.py`.

`tksva_q.job` is the queue's memory; where a job came in as a row of `post`, the row is written in the
same transaction. Locks are always taken in the order job, post, warehouse table, and of those one a transaction.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import psycopg2.errors

import statuses
import table_lock
from db import LOCK_MS, Cursor
from errors import LostJob, RowHeld
from prepared import Prepared

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Fence:
    """What a worker must repeat with every write: nothing is written for whoever does not own the attempt."""

    job_id: int
    attempt: int
    worker: str


@dataclass(frozen=True)
class Job:
    """A claimed job, as its child gets it."""

    id: int
    attempt: int  # number of this attempt; never given out twice
    worker: str  # the worker that claimed it
    slot: int  # the child of that worker
    spent: int  # attempts that count towards MAX_ATTEMPTS, this one included
    form: str | None
    params: str | None  # JSON text as it came in: parsing it is the first thing that can go wrong
    post_id: int | None
    user_id: int | None
    file_name: str | None
    dwh_table: str | None
    table_version: str | None  # changes when the Inspector swaps the table
    cursor: dict[str, Any] | None  # where an earlier attempt stopped
    rows: int  # rows in the part file
    total: int | None  # rows counted at the start
    chunk_size: int | None  # smaller than the setting after an out-of-memory kill
    cancel: bool  # somebody asked it to stop
    rows_at_claim: int  # rows in the part file when the attempt began
    time_limit: float | None = None  # seconds of an attempt; None for the processing's own
    max_attempts: int | None = None  # None for MAX_ATTEMPTS
    pause_seconds: float | None = None  # before the second attempt; None for the usual one
    schedule: str | None = None  # that made it
    planned_at: datetime | None = None  # its slot

    @property
    def moved(self) -> bool:
        """Whether this attempt has added rows to the file."""
        return self.rows > self.rows_at_claim

    @property
    def fence(self) -> Fence:
        """The condition of every write for this attempt."""
        return Fence(self.id, self.attempt, self.worker)


@dataclass(frozen=True)
class Settlement:
    """How an attempt ends."""

    state: Literal["done", "failed", "waiting", "cancelled"]
    outcome: Literal["done", "failed", "retry", "given back", "cancelled"]  # the journal's word
    reason: str | None = None
    delay: float = 0.0  # seconds before the next attempt
    refund: bool = False  # the attempt does not count towards MAX_ATTEMPTS
    restart: bool = False  # the next attempt begins at row one
    chunk_size: int | None = None  # rows per page from now on


#: Milliseconds after which a loop leaves a row to whoever holds it: the queue's own transactions are over by then, one
#: that somebody has left open in a psql is not.
HELD_MS: Final = 20

#: The end of an attempt whose job somebody has cancelled.
CANCELLED = Settlement("cancelled", "cancelled", "отменено")

#: Of a job, in the order that `from_row` takes; the job table is called `j`.
COLUMNS = """j.id, j.attempt, j.worker::text, j.slot, j.spent, j.form, j.params::text, j.post_id, j.user_id,
    j.file_name, j.dwh_table, j.table_version, j.cursor::text, j.rows, j.total, j.chunk_size, j.cancel,
    j.rows_at_claim, j.time_limit, j.max_attempts, j.pause_seconds, j.schedule, j.planned_at"""

#: Which rows of the job table may be claimed now.
CLAIMABLE = f"""state = 'waiting' AND run_at <= now() AND NOT held
      AND (dwh_table IS NULL OR dwh_table NOT IN ({table_lock.REFRESHING}))"""

#: Whether the claiming worker's lease is still good.
LEASED = """EXISTS (SELECT FROM tksva_q.worker WHERE id = %(worker)s
                  AND seen_at + make_interval(secs => lease_seconds) > clock_timestamp())"""

#: What a claim writes into the row, and the journal of it.
BEGUN = """state = 'running', attempt = attempt + 1, spent = spent + 1, worker = %(worker)s, slot = %(slot)s,
        started_at = coalesce(started_at, now()), rows_at_claim = rows, cancel = false"""
JOURNAL = """INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, slot, rows_before)
    SELECT j.id, j.attempt, j.worker, (SELECT host FROM tksva_q.worker WHERE id = j.worker), j.slot, j.rows FROM j"""

_CLAIM = Prepared(
    "tksva_q_claim",
    f"""
WITH candidate AS (
    SELECT id, dwh_table FROM tksva_q.job
    WHERE {CLAIMABLE}
      AND {LEASED}
    ORDER BY priority DESC, queued_at, id
    LIMIT 1 FOR UPDATE SKIP LOCKED
), marked AS ({table_lock.MARK}
), j AS (
    UPDATE tksva_q.job SET {BEGUN}, table_version = marked.version
    FROM candidate LEFT JOIN marked ON marked.name = candidate.dwh_table
    WHERE job.id = candidate.id
      AND (candidate.dwh_table IS NULL OR marked.name IS NOT NULL
           OR NOT EXISTS (SELECT FROM dwh_tables_info WHERE dwh_table_name = candidate.dwh_table))
    RETURNING job.*
), journal AS ({JOURNAL}
)
SELECT {COLUMNS} FROM j
""",  # noqa: S608 -- put together from this project's own constants
)

_RUNNING = Prepared(
    "tksva_q_running",
    f"SELECT {COLUMNS} FROM tksva_q.job j WHERE j.worker = %(worker)s AND j.state = 'running' ORDER BY j.id",  # noqa: S608
)

_SETTLE = Prepared(
    "tksva_q_settle",
    """
WITH j AS (
    UPDATE tksva_q.job SET state = %(state)s, worker = NULL, slot = NULL, error = %(reason)s,
        spent = spent - %(refund)s::boolean::int, run_at = now() + make_interval(secs => %(delay)s),
        cursor = CASE WHEN %(forget)s THEN NULL ELSE cursor END,
        rows = CASE WHEN %(restart)s THEN 0 ELSE rows END,
        chunk_size = coalesce(%(chunk_size)s, chunk_size),
        finished_at = CASE WHEN %(final)s THEN now() END
    WHERE id = %(id)s AND attempt = %(attempt)s AND worker = %(worker)s AND state = 'running'
    RETURNING id, post_id, rows
), journal AS (
    UPDATE tksva_q.attempt SET finished_at = clock_timestamp(), outcome = %(outcome)s, reason = %(reason)s,
        rows_after = j.rows
    FROM j WHERE attempt.job_id = j.id AND attempt.attempt = %(attempt)s
), p AS (
    UPDATE post SET task_status = %(status)s, task_status_timestamp = localtimestamp FROM j
    WHERE post.id = j.post_id AND (post.task_status = 'в очереди' OR post.task_status LIKE 'загружено %%')
)
SELECT count(*) FROM j
""",
)

_POST_STATUS = {
    "done": statuses.PREPARED,
    "failed": statuses.FAILED,
    "cancelled": statuses.FAILED,
    "waiting": statuses.WAITING,
}


def claim(cursor: Cursor, worker: str, slot: int) -> Job | None:
    """Take the oldest job that may start and lock its warehouse table against a swap: one atomic statement.

    Returns:
        The job, its attempt counted; None when nothing may start, or when the worker's lease has run out.
    """
    _CLAIM.run(cursor, {"worker": worker, "slot": slot})
    row = cursor.fetchone()
    return from_row(row) if row else None


def running(cursor: Cursor, worker: str) -> list[Job]:
    """Return the jobs that the database counts as running at this worker."""
    _RUNNING.run(cursor, {"worker": worker})
    return [from_row(row) for row in cursor.fetchall()]


def is_owned(cursor: Cursor, fence: Fence) -> bool:
    """Tell whether a job is still this attempt's, and the worker's lease good."""
    cursor.execute(
        "SELECT FROM tksva_q.job JOIN tksva_q.worker ON worker.id = job.worker"
        " WHERE job.id = %s AND attempt = %s AND worker.id = %s AND state = 'running'"
        "   AND seen_at + make_interval(secs => lease_seconds) > clock_timestamp()",
        (fence.job_id, fence.attempt, fence.worker),
    )
    return cursor.rowcount > 0


def lock_or_leave(cursor: Cursor, job_id: int) -> None:
    """Lock a job and its row of `post` for the caller's transaction, without waiting: a loop has others to serve.

    Raises:
        RowHeld: somebody else has one of them; a later transaction may find it free.
    """
    try:
        cursor.execute(
            "SET LOCAL lock_timeout = %(held)s;"
            "SELECT FROM tksva_q.job WHERE id = %(id)s FOR UPDATE;"
            "SELECT FROM post WHERE id = (SELECT post_id FROM tksva_q.job WHERE id = %(id)s) FOR NO KEY UPDATE;"
            "SET LOCAL lock_timeout = %(usual)s",
            {"id": job_id, "held": HELD_MS, "usual": LOCK_MS},
        )
    except psycopg2.errors.LockNotAvailable as error:
        raise RowHeld(f"somebody holds job {job_id} or its row") from error


def settle(cursor: Cursor, fence: Fence, dwh_table: str | None, end: Settlement) -> Settlement:
    """End an attempt: the job, its journal, the row of `post` and the table's lock, in the caller's transaction.

    Returns:
        How it has ended: a job that somebody has cancelled meanwhile does not wait for another attempt.

    Raises:
        LostJob: another worker owns the job; nothing was written.
    """
    if end.state == "waiting" and _hold(cursor, fence):
        end = CANCELLED
    _SETTLE.run(
        cursor,
        {
            "id": fence.job_id,
            "attempt": fence.attempt,
            "worker": fence.worker,
            "state": end.state,
            "outcome": end.outcome,
            "reason": end.reason,
            "refund": end.refund,
            "delay": end.delay,
            "forget": end.restart or end.state != "waiting",
            "restart": end.restart,
            "chunk_size": end.chunk_size,
            "final": end.state != "waiting",
            "status": _POST_STATUS[end.state],
        },
    )
    row = cursor.fetchone()
    if not row or not row[0]:
        raise LostJob("the job is no longer this worker's")
    if dwh_table is not None:
        table_lock.release(cursor, dwh_table)
    return end


def _hold(cursor: Cursor, fence: Fence) -> bool:
    """Lock the row of a job; tell whether somebody has cancelled it."""
    cursor.execute(
        "SELECT cancel FROM tksva_q.job"
        " WHERE id = %s AND attempt = %s AND worker = %s AND state = 'running' FOR UPDATE",
        (fence.job_id, fence.attempt, fence.worker),
    )
    row = cursor.fetchone()
    if row is None:
        raise LostJob("the job is no longer this worker's")
    return bool(row[0])


def from_row(row: tuple[Any, ...]) -> Job:
    """Return the job of a row of COLUMNS."""
    values = list(row)
    values[12] = json.loads(values[12]) if values[12] else None
    return Job(*values)
