"""The book of deals and managers: what is queued, who got what, who is on leave."""

from dataclasses import dataclass
from typing import Any

import queueing
from db import Cursor

FORM = "process_carex_random"
NOBODY = "no available users"


@dataclass(frozen=True)
class Manager:
    """Somebody who may get deals."""

    user_id: str
    user_name: str
    is_excluded: bool
    is_drawn: bool
    deals: int  # drawn for them


def queue(cursor: Cursor, deal_id: int, cont_id: int) -> None:
    """Queue a deal once; one that has failed is queued again."""
    cursor.execute(
        "INSERT INTO tksva_q.deal (deal_id, cont_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", (deal_id, cont_id)
    )
    if cursor.rowcount:
        job = queueing.submit(cursor, FORM, {"deal_id": deal_id, "cont_id": cont_id})
        cursor.execute("UPDATE tksva_q.deal SET job_id = %s WHERE deal_id = %s", (job, deal_id))
    else:
        retry(cursor, deal_id)


def retry(cursor: Cursor, deal_id: int | None = None) -> list[int]:
    """Queue a failed deal again, or every one; return the jobs, each of them given to one caller only."""
    cursor.execute(
        "SELECT job_id FROM tksva_q.deal WHERE state = 'failed' AND (%(id)s::bigint IS NULL OR deal_id = %(id)s)"
        " ORDER BY deal_id",
        {"id": deal_id},
    )
    return [job for (found,) in cursor.fetchall() for job in queueing.retry(cursor, found)]


def standing(cursor: Cursor, found: list[int]) -> dict[str, int]:
    """Return how many deals of these jobs are in which state."""
    cursor.execute("SELECT state, count(*) FROM tksva_q.deal WHERE job_id = ANY(%s) GROUP BY 1", (found,))
    return dict(cursor.fetchall())


def managers(cursor: Cursor) -> list[Manager]:
    """Return everybody with the number of deals drawn for them: the fairness count."""
    cursor.execute(
        "SELECT user_id, user_name, is_excluded, is_drawn, (SELECT count(*) FROM tksva_q.deal d"
        " WHERE d.user_id = m.user_id AND why = 'draw') FROM tksva_q.deal_manager m ORDER BY user_id"
    )
    return [Manager(*row) for row in cursor.fetchall()]


def assignments(cursor: Cursor, limit: int = 100) -> list[tuple[Any, ...]]:
    """Return deal, contact, person, when and why, the newest first."""
    cursor.execute(
        "SELECT deal_id, cont_id, user_id, done_at, why FROM tksva_q.deal WHERE state = 'done'"
        " ORDER BY done_at DESC, deal_id DESC LIMIT %s",
        (limit,),
    )
    return cursor.fetchall()


def failures(cursor: Cursor, limit: int = 100) -> list[tuple[Any, ...]]:
    """Return the error queue: deal, contact, reason."""
    cursor.execute(
        "SELECT deal_id, cont_id, error FROM tksva_q.deal WHERE state = 'failed' ORDER BY deal_id LIMIT %s", (limit,)
    )
    return cursor.fetchall()


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
