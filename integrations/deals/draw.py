"""Who is made responsible: whoever the contact has, else one drawn at random, without replacement per round."""

import random
from dataclasses import dataclass
from datetime import datetime

from db import Cursor

#: Key of the advisory lock under which people are chosen, by one transaction at a time ("deals" in ASCII).
DRAW_LOCK = 0x6465616C73


@dataclass(frozen=True)
class Choice:
    """Who is made responsible for a deal."""

    user_id: str
    why: str  # contact: the contact has somebody; draw


def lock(cursor: Cursor) -> None:
    """Let nobody else choose until this transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (DRAW_LOCK,))


def choose(cursor: Cursor, deal_id: int, owner: str, since: datetime, source: random.Random) -> Choice | None:
    """Choose once and keep the choice; under `lock`.

    Args:
        cursor: in the transaction that holds the lock.
        deal_id: whom for.
        owner: whoever the contact had when it was asked; empty for nobody.
        since: a moment before that.
        source: of the draw.

    Returns:
        The choice, or the one that was made before; None where everybody is on leave.
    """
    cursor.execute("SELECT user_id, why, cont_id FROM tksva_q.deal WHERE deal_id = %s", (deal_id,))
    row = cursor.fetchone()
    if row is None or row[0] is not None:
        return Choice(row[0], row[1]) if row else None
    promised = owner or _promised(cursor, deal_id, row[2], since)
    user_id = promised or draw(cursor, source)
    if user_id is None:
        return None
    choice = Choice(user_id, "contact" if promised else "draw")
    cursor.execute(
        "UPDATE tksva_q.deal SET user_id = %s, why = %s, chosen_at = now() WHERE deal_id = %s",
        (choice.user_id, choice.why, deal_id),
    )
    return choice


def _promised(cursor: Cursor, deal_id: int, cont_id: int, since: datetime) -> str | None:
    """Return whom another deal of the contact was drawn, in a way that the contact did not show at `since`."""
    cursor.execute(
        "SELECT user_id FROM tksva_q.deal d LEFT JOIN tksva_q.deal_manager m USING (user_id)"
        " WHERE cont_id = %s AND deal_id <> %s AND why = 'draw' AND (state <> 'done' OR done_at > %s)"
        "   AND (deal_sent OR NOT coalesce(m.is_excluded, true)) ORDER BY chosen_at DESC, deal_id DESC LIMIT 1",
        (cont_id, deal_id, since),
    )
    row = cursor.fetchone()
    return row[0] if row else None


def draw(cursor: Cursor, source: random.Random) -> str | None:
    """Return whose turn it is, None where everybody is on leave; in a round everybody gets one deal."""
    lock(cursor)
    left = _left(cursor)
    if not left:
        cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = false WHERE is_drawn")
        left = _left(cursor)
    if not left:
        return None
    user_id = source.choice(left)
    cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = true WHERE user_id = %s", (user_id,))
    return user_id


def give_up(cursor: Cursor, deals: list[int]) -> None:
    """Give up the drawn people of these deals who went on leave before anything was sent; they keep their turn.

    What was sent, or may have been, stays: deal and contact get the same person. So does whoever another deal of the
    contact has been given to. Under `lock`.
    """
    cursor.execute(
        "WITH gone AS (UPDATE tksva_q.deal d SET user_id = NULL, why = NULL FROM tksva_q.deal old"
        "   LEFT JOIN tksva_q.deal_manager m ON m.user_id = old.user_id"
        "   WHERE d.deal_id = ANY(%s) AND old.deal_id = d.deal_id AND d.why = 'draw' AND NOT d.deal_sent"
        "     AND coalesce(m.is_excluded, true)"
        "     AND NOT EXISTS (SELECT FROM tksva_q.deal other WHERE other.cont_id = d.cont_id"
        "       AND other.user_id = d.user_id AND other.deal_sent)"
        "   RETURNING old.user_id)"
        " UPDATE tksva_q.deal_manager m SET is_drawn = false FROM gone WHERE m.user_id = gone.user_id",
        (deals,),
    )


def _left(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT user_id FROM tksva_q.deal_manager WHERE NOT is_excluded AND NOT is_drawn ORDER BY user_id FOR UPDATE"
    )
    return [row[0] for row in cursor.fetchall()]
