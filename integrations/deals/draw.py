"""The draw: at random, without replacement per round, never somebody on leave; stored before anybody is called."""

import random
from dataclasses import dataclass

from db import Cursor

#: Key of the advisory lock under which one deal at a time is drawn ("deals" in ASCII).
DRAW_LOCK = 0x6465616C73


@dataclass(frozen=True)
class Choice:
    """Who is made responsible for a deal."""

    user_id: str
    why: str  # contact: the contact has somebody; draw
    deal_updated: bool = False


def stored(cursor: Cursor, deal_id: int) -> Choice | None:
    """Return the choice of an earlier attempt, None where there is none that may still be used.

    A drawn manager who went on leave before the deal was handed over is given up, and keeps the turn.
    """
    _lock(cursor)
    cursor.execute(
        "SELECT d.user_id, d.why, d.deal_updated, d.why = 'draw' AND NOT d.deal_updated AND"
        " coalesce(m.is_excluded, true) FROM tksva_q.deal d LEFT JOIN tksva_q.deal_manager m USING (user_id)"
        " WHERE d.deal_id = %s AND d.user_id IS NOT NULL",
        (deal_id,),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    if row[3]:
        cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = false WHERE user_id = %s", (row[0],))
        cursor.execute("UPDATE tksva_q.deal SET user_id = NULL, why = NULL WHERE deal_id = %s", (deal_id,))
        return None
    return Choice(row[0], row[1], row[2])


def draw(cursor: Cursor, source: random.Random) -> str | None:
    """Return whose turn it is, None where everybody is on leave; in a round everybody gets one deal."""
    _lock(cursor)
    left = _left(cursor)
    if not left:
        cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = false WHERE is_drawn")
        left = _left(cursor)
    if not left:
        return None
    user_id = source.choice(left)
    cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = true WHERE user_id = %s", (user_id,))
    return user_id


def store(cursor: Cursor, deal_id: int, choice: Choice) -> None:
    """Keep the choice."""
    cursor.execute(
        "UPDATE tksva_q.deal SET user_id = %s, why = %s, chosen_at = now() WHERE deal_id = %s",
        (choice.user_id, choice.why, deal_id),
    )


def _lock(cursor: Cursor) -> None:
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (DRAW_LOCK,))


def _left(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT user_id FROM tksva_q.deal_manager WHERE NOT is_excluded AND NOT is_drawn ORDER BY user_id FOR UPDATE"
    )
    return [row[0] for row in cursor.fetchall()]
