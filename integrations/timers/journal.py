"""The journal of runs: one row of `zakaz.meta_job_runs` for each attempt, ended exactly once."""

import datetime
import json
from dataclasses import dataclass
from typing import Any, Literal

from db import Cursor
from jobs import Fence

#: No run takes longer: the greatest time limit there is, and a day for whatever comes.
LONGEST = datetime.timedelta(days=8)

# The end of the attempt, as the queue noted it, is that of the run whose worker died.
_CLOSE_DEAD = """
UPDATE zakaz.meta_job_runs m
SET status = 'error', finished_at = greatest(m.started_at, coalesce(a.finished_at, clock_timestamp())),
    message = 'прервано: ' || coalesce(nullif(a.reason, ''), 'работник исчез')
FROM tksva_q.timer_run r
LEFT JOIN tksva_q.attempt a ON a.job_id = r.job_id AND a.attempt = r.attempt
WHERE m.job = r.job AND m.started_at = r.started_at AND m.status = 'running'
  AND NOT EXISTS (SELECT FROM tksva_q.job j
                  WHERE j.id = r.job_id AND j.attempt = r.attempt AND j.state = 'running')
"""


@dataclass(frozen=True)
class Run:
    """A run, as the page and the command line show it."""

    timer: str
    job_id: int
    attempt: int
    job: str
    started_at: datetime.datetime
    finished_at: datetime.datetime | None
    rows: int | None
    status: Literal["running", "success", "error"]
    message: str | None
    output: str

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it runs."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


def begin(cursor: Cursor, fence: Fence, timer: str, job: str) -> datetime.datetime:
    """Note that a run begins; return its start, by which the journal knows it."""
    cursor.execute("INSERT INTO zakaz.meta_job_runs (job, status) VALUES (%s, 'running') RETURNING started_at", (job,))
    row = cursor.fetchone()
    started: datetime.datetime = row[0]  # type: ignore[index]  # RETURNING gives one row
    cursor.execute(
        "INSERT INTO tksva_q.timer_run (job_id, attempt, timer, job, started_at) VALUES (%s, %s, %s, %s, %s)",
        (fence.job_id, fence.attempt, timer, job, started),
    )
    return started


def end(  # noqa: PLR0913 -- what the journal notes
    cursor: Cursor,
    fence: Fence,
    status: Literal["success", "error"],
    *,
    rows: int | None = None,
    message: str = "",
    output: str = "",
    metrics: dict[str, Any] | None = None,
) -> None:
    """End a run; one that was ended already, as a dead worker's, stays as it is."""
    cursor.execute(
        "WITH r AS (UPDATE tksva_q.timer_run SET output = %(output)s"
        "   WHERE job_id = %(job)s AND attempt = %(attempt)s RETURNING job, started_at)"
        " UPDATE zakaz.meta_job_runs m SET status = %(status)s, finished_at = clock_timestamp(),"
        "   rows_processed = %(rows)s, message = %(message)s, metrics = %(metrics)s::jsonb"
        " FROM r WHERE m.job = r.job AND m.started_at = r.started_at AND m.status = 'running'",
        {
            "job": fence.job_id,
            "attempt": fence.attempt,
            "status": status,
            "rows": rows,
            "message": message,
            "output": output,
            "metrics": json.dumps(metrics or {}),
        },
    )


def close_dead(cursor: Cursor) -> int:
    """End the runs whose attempt is over although nobody has ended them; return how many."""
    cursor.execute(_CLOSE_DEAD)
    return int(cursor.rowcount)


def last_runs(cursor: Cursor, timer: str | None = None, limit: int = 20) -> list[Run]:
    """Return the newest runs, of one timer or of all."""
    cursor.execute(
        "SELECT r.timer, r.job_id, r.attempt, m.job, m.started_at, m.finished_at, m.rows_processed, m.status,"
        "   m.message, r.output"
        " FROM zakaz.meta_job_runs m JOIN tksva_q.timer_run r USING (job, started_at)"
        " WHERE %(timer)s::text IS NULL OR r.timer = %(timer)s ORDER BY r.started_at DESC LIMIT %(limit)s",
        {"timer": timer, "limit": limit},
    )
    return [Run(*row) for row in cursor.fetchall()]


def since(cursor: Cursor, begin_at: datetime.datetime) -> list[Run]:
    """Return the runs of a day's picture, the oldest first."""
    cursor.execute(
        "SELECT r.timer, r.job_id, r.attempt, m.job, m.started_at, m.finished_at, m.rows_processed, m.status,"
        "   m.message, '' FROM zakaz.meta_job_runs m JOIN tksva_q.timer_run r USING (job, started_at)"
        " WHERE coalesce(m.finished_at, now()) > %s AND m.started_at > %s AND r.started_at > %s"
        " ORDER BY m.started_at LIMIT 5000",
        (begin_at, begin_at - LONGEST, begin_at - LONGEST),
    )
    return [Run(*row) for row in cursor.fetchall()]
