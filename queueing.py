"""Jobs into the queue, out of it and back: submit, cancel, retry, whoever asks. No worker does these, see `jobs.py`.

Locks are taken in the same order: job, post.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import statuses
from db import Cursor
from jobs import State

#: Channel of NOTIFY on which the loop waits for work.
CHANNEL = "tksva_q"


@dataclass(frozen=True)
class Plan:
    """Where a job comes from that nobody has asked for by hand."""

    schedule: str | None = None
    planned_at: datetime | None = None
    held: bool = False  # waits until the schedule's earlier job has ended


def submit(  # noqa: PLR0913 -- one row of the job table
    cursor: Cursor,
    form: str,
    params: dict[str, Any],
    *,
    user_id: int | None = None,
    file_name: str | None = None,
    dwh_table: str | None = None,
    priority: int = 5,
    run_at: datetime | None = None,
    time_limit: float | None = None,
    max_attempts: int | None = None,
    pause_seconds: float | None = None,
    plan: Plan | None = None,
) -> int:
    """Queue a job that has no row in `post` (command line, API, schedules); return its id.

    The loop is woken, unless a schedule made the job: it has more of them to queue, and calls `wake` in the end.

    Args:
        cursor: in the caller's transaction.
        form: name of the processing.
        params: its conditions.
        user_id: whose file it makes.
        file_name: of that file.
        dwh_table: the warehouse table it reads under the Inspector's lock.
        priority: larger ones first.
        run_at: not before this moment; None for now.
        time_limit: seconds of an attempt; None for the processing's own.
        max_attempts: None for MAX_ATTEMPTS.
        pause_seconds: before the second attempt, growing from then on; None for the usual one.
        plan: the slot of a schedule that it comes from.
    """
    plan = plan or Plan()
    cursor.execute(
        "INSERT INTO tksva_q.job (form, params, user_id, file_name, dwh_table, priority, run_at, time_limit,"
        "   max_attempts, pause_seconds, schedule, planned_at, held)"
        " VALUES (%s, %s, %s, %s, %s, %s, coalesce(%s, now()), %s, %s, %s, %s, %s, %s) RETURNING id",
        (
            *(form, json.dumps(params), user_id, file_name, dwh_table, priority, run_at, time_limit),
            *(max_attempts, pause_seconds, plan.schedule, plan.planned_at, plan.held),
        ),
    )
    row = cursor.fetchone()
    if plan.schedule is None:
        wake(cursor)
    return int(row[0]) if row else 0


def cancel(cursor: Cursor, job_id: int) -> State | None:
    """End a waiting job now, ask the worker of a running one to stop it within a second.

    Returns:
        The state in which the job was; None where there is no such job or it has ended already.
    """
    cursor.execute(
        "WITH old AS (SELECT id, state FROM tksva_q.job"
        "   WHERE id = %(id)s AND state IN ('waiting', 'running') FOR UPDATE),"
        " j AS (UPDATE tksva_q.job SET cancel = true,"
        "   state = CASE WHEN old.state = 'waiting' THEN 'cancelled' ELSE old.state END,"
        "   error = CASE WHEN old.state = 'waiting' THEN 'отменено' ELSE error END,"
        "   cursor = CASE WHEN old.state = 'waiting' THEN NULL ELSE cursor END,"
        "   finished_at = CASE WHEN old.state = 'waiting' THEN now() END"
        "   FROM old WHERE job.id = old.id RETURNING job.post_id, old.state AS was),"
        " p AS (UPDATE post SET task_status = %(failed)s, task_status_timestamp = localtimestamp FROM j"
        "   WHERE post.id = j.post_id AND j.was = 'waiting' AND post.task_status = %(waiting)s)"
        " SELECT was FROM j",
        {"id": job_id, "failed": statuses.FAILED, "waiting": statuses.WAITING},
    )
    row = cursor.fetchone()
    wake(cursor)
    return row[0] if row else None


def retry(cursor: Cursor, job_id: int | None = None) -> list[int]:
    """Queue a failed or cancelled job again with fresh attempts, or every failed one when `job_id` is None.

    Returns:
        The ids that were queued. A row of `post` that already lives on in a newer job is left alone.
    """
    condition = "(%(id)s IS NULL AND state = 'failed') OR (id = %(id)s AND state IN ('failed', 'cancelled'))"
    return _retry(cursor, condition, {"id": job_id})


def retry_seen(cursor: Cursor, seen: Sequence[tuple[int, int]]) -> list[int]:
    """Queue failed or cancelled jobs again, as `retry` does, in one statement.

    Args:
        cursor: in the caller's transaction.
        seen: id and attempt of each; one that has been queued and has failed again since is left alone.
    """
    condition = (
        "state IN ('failed', 'cancelled')"
        " AND (id, attempt) IN (SELECT * FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[]))"
    )
    ids, attempts = [job for job, _ in seen], [attempt for _, attempt in seen]
    return _retry(cursor, condition, {"ids": ids, "attempts": attempts})


def _retry(cursor: Cursor, condition: str, values: dict[str, Any]) -> list[int]:
    cursor.execute(
        "WITH j AS (UPDATE tksva_q.job SET state = 'waiting', spent = 0, cursor = NULL, rows = 0,"  # noqa: S608 -- ours
        "   total = NULL,"
        "   error = NULL, run_at = now(), started_at = NULL, finished_at = NULL, cancel = false,"
        "   held = false"
        f"   WHERE ({condition})"
        "     AND NOT EXISTS (SELECT FROM tksva_q.job other WHERE other.post_id = job.post_id AND other.id > job.id)"
        "     AND (post_id IS NULL OR EXISTS"
        "       (SELECT FROM post WHERE post.id = job.post_id AND task_status = %(failed)s))"
        "   RETURNING id, post_id),"
        " p AS (UPDATE post SET task_status = %(waiting)s, task_status_timestamp = localtimestamp FROM j"
        "   WHERE post.id = j.post_id)"
        " SELECT id FROM j ORDER BY id",
        {"failed": statuses.FAILED, "waiting": statuses.WAITING} | values,
    )
    queued = [int(row[0]) for row in cursor.fetchall()]
    wake(cursor)
    return queued


def wake(cursor: Cursor) -> None:
    """Tell every loop that there is something to do, when this transaction commits."""
    cursor.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
