"""The book of deals and managers: what is queued, who got what, who is on leave."""

from dataclasses import dataclass
from datetime import datetime

import queueing
from db import Cursor
from integrations.deals.steps import FORM, NOBODY

#: Failed deals that one transaction queues again: as many as fit into its time limit many times over.
RETRIES = 1000
#: Key of the advisory lock under which they are, so that two callers do not wait for each other ("again" in ASCII).
RETRY_LOCK = 0x616761696E


@dataclass(frozen=True)
class Manager:
    """Somebody who may get deals."""

    user_id: str
    user_name: str
    is_excluded: bool
    is_drawn: bool
    deals: int  # drawn for them


@dataclass(frozen=True)
class Assignment:
    """A deal that somebody has got."""

    deal_id: int
    cont_id: int
    user_id: str
    user_name: str  # empty for somebody who is no manager here
    done_at: datetime
    why: str  # contact: the contact has somebody; draw


@dataclass(frozen=True)
class Failure:
    """A deal of the error queue."""

    deal_id: int
    cont_id: int
    error: str


def queue(cursor: Cursor, deal_id: int, cont_id: int) -> None:
    """Queue a deal once; one that has failed is queued again."""
    cursor.execute(
        "INSERT INTO tksva_q.deal (deal_id, cont_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", (deal_id, cont_id)
    )
    if cursor.rowcount:
        _submit(cursor, deal_id, cont_id)
    else:
        retry(cursor, failed(cursor, deal_id))


def failed(cursor: Cursor, deal_id: int | None = None) -> list[tuple[int, int]]:
    """Return job and attempt of a failed deal, or of every one, the oldest first; attempt 0 where the job is gone."""
    cursor.execute(
        "SELECT job_id, coalesce(job.attempt, 0) FROM tksva_q.deal LEFT JOIN tksva_q.job ON job.id = job_id"
        " WHERE deal.state = 'failed' AND (%(id)s::bigint IS NULL OR deal_id = %(id)s) ORDER BY job_id",
        {"id": deal_id},
    )
    return cursor.fetchall()


def retry(cursor: Cursor, seen: list[tuple[int, int]]) -> list[int]:
    """Queue the failed deals again that nobody has queued since they were seen; return the jobs.

    Each of them is given to one caller only, however many there are. A deal whose job was deleted gets a new one.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (RETRY_LOCK,))
    return queueing.retry_seen(cursor, seen) + _submit_anew(cursor, [job for job, _ in seen])


def _submit_anew(cursor: Cursor, found: list[int]) -> list[int]:
    """Submit a job for each failed deal of jobs that are gone; return the new ones."""
    cursor.execute(
        "SELECT deal_id, cont_id FROM tksva_q.deal WHERE job_id = ANY(%s) AND state = 'failed'"
        " AND NOT EXISTS (SELECT FROM tksva_q.job WHERE id = job_id) ORDER BY job_id",
        (found,),
    )
    return [_submit(cursor, deal_id, cont_id) for deal_id, cont_id in cursor.fetchall()]


def _submit(cursor: Cursor, deal_id: int, cont_id: int) -> int:
    job = queueing.submit(cursor, FORM, {"deal_id": deal_id, "cont_id": cont_id})
    cursor.execute(
        "UPDATE tksva_q.deal SET job_id = %s, state = 'waiting', error = NULL WHERE deal_id = %s", (job, deal_id)
    )
    return job


def standing(cursor: Cursor, found: list[int]) -> dict[str, int]:
    """Return how many deals of these jobs are in which state."""
    cursor.execute("SELECT state, count(*) FROM tksva_q.deal WHERE job_id = ANY(%s) GROUP BY 1", (found,))
    return dict(cursor.fetchall())


def managers(cursor: Cursor) -> list[Manager]:
    """Return everybody with the number of deals drawn for them: the fairness count."""
    cursor.execute(
        "SELECT user_id, user_name, is_excluded, is_drawn, (SELECT count(*) FROM tksva_q.deal d"
        " WHERE d.user_id = m.user_id AND why = 'draw') FROM tksva_q.deal_manager m"
        " ORDER BY length(user_id), user_id"
    )
    return [Manager(*row) for row in cursor.fetchall()]


def assignments(cursor: Cursor, limit: int = 100) -> list[Assignment]:
    """Return who got which deal, the newest first."""
    cursor.execute(
        "SELECT deal_id, cont_id, user_id, coalesce(user_name, ''), done_at, why"
        " FROM tksva_q.deal LEFT JOIN tksva_q.deal_manager USING (user_id) WHERE state = 'done'"
        " ORDER BY done_at DESC, deal_id DESC LIMIT %s",
        (limit,),
    )
    return [Assignment(*row) for row in cursor.fetchall()]


def failures(cursor: Cursor, limit: int = 100) -> list[Failure]:
    """Return the error queue."""
    cursor.execute(
        "SELECT deal_id, cont_id, coalesce(error, '') FROM tksva_q.deal WHERE state = 'failed' ORDER BY deal_id"
        " LIMIT %s",
        (limit,),
    )
    return [Failure(*row) for row in cursor.fetchall()]


def count(cursor: Cursor) -> dict[str, int]:
    """Return how many deals are in which state: waiting, failed, done."""
    cursor.execute("SELECT state, count(*) FROM tksva_q.deal GROUP BY 1")
    return {"waiting": 0, "failed": 0, "done": 0} | dict(cursor.fetchall())


def add(cursor: Cursor, user_id: str, user_name: str) -> None:
    """Add somebody, or change a name."""
    cursor.execute(
        "INSERT INTO tksva_q.deal_manager (user_id, user_name) VALUES (%s, %s)"
        " ON CONFLICT (user_id) DO UPDATE SET user_name = excluded.user_name",
        (user_id, user_name),
    )
    _go_on(cursor)


def exclude(cursor: Cursor, user_id: str, excluded: bool) -> bool:
    """Send somebody on leave, or take them back; tell whether there is such a person."""
    cursor.execute("UPDATE tksva_q.deal_manager SET is_excluded = %s WHERE user_id = %s", (excluded, user_id))
    known = cursor.rowcount > 0
    if not excluded:
        _go_on(cursor)
    return known


def _go_on(cursor: Cursor) -> None:
    """Start the deals at once that wait for somebody to come back."""
    cursor.execute(
        "UPDATE tksva_q.job SET run_at = now() WHERE state = 'waiting' AND form = %s AND error = %s", (FORM, NOBODY)
    )
    queueing.wake(cursor)
