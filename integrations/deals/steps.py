"""What has been done for a deal: chosen, sent, updated. Whoever takes a deal up goes on from there.

An attempt that sees to the deals of others too holds them. It does so only while it runs: what a dead one held is free.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import jobs
from db import Cursor, Database
from integrations.deals import draw

FORM = "process_carex_random"
#: Why a deal waits while everybody is on leave.
NOBODY = "no available users"

_HELD = (
    "EXISTS (SELECT FROM tksva_q.job h WHERE h.id = d.held_by AND h.attempt = d.held_attempt AND h.state = 'running'"
    " AND h.id <> %(job)s)"
)
#: There is still nobody for a deal that waits for somebody: asking about it again would take the turns of others.
_HOPELESS = (
    "(d.user_id IS NULL AND d.error IS NOT DISTINCT FROM %(nobody)s"
    " AND NOT EXISTS (SELECT FROM tksva_q.deal_manager WHERE NOT is_excluded))"
)
_COLUMNS = "d.deal_id, d.cont_id, d.user_id, d.why, d.deal_updated, d.contact_updated, d.served"


@dataclass(frozen=True)
class Deal:
    """How far a deal is."""

    deal_id: int
    cont_id: int
    user_id: str | None  # who is chosen
    why: str | None  # see `draw.Choice`
    deal_updated: bool
    contact_updated: bool
    served: bool  # there is nothing left to do

    @property
    def fields(self) -> dict[str, dict[str, str | None]]:
        """What its update is to change."""
        return {"fields": {"ASSIGNED_BY_ID": self.user_id}}


def known(cursor: Cursor, job: jobs.Job, deal_id: int, cont_id: int) -> bool:
    """Tell whether a job is the one that sees to its deal; one that comes in by another door becomes it."""
    cursor.execute(
        "INSERT INTO tksva_q.deal (deal_id, cont_id, job_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (deal_id, cont_id, job.id),
    )
    cursor.execute("SELECT job_id FROM tksva_q.deal WHERE deal_id = %s", (deal_id,))
    return cursor.fetchone() == (job.id,)


def take_up(cursor: Cursor, job: jobs.Job, deal_id: int) -> tuple[Deal, datetime] | None:
    """Return a job's deal and the moment, None while another attempt sees to the deal."""
    draw.lock(cursor)
    cursor.execute(
        f"SELECT {_COLUMNS}, clock_timestamp() FROM tksva_q.deal d WHERE d.deal_id = %(deal)s AND NOT {_HELD}",  # noqa: S608
        {"deal": deal_id, "job": job.id},
    )
    row = cursor.fetchone()
    return (Deal(*row[:-1]), row[-1]) if row else None


def hopeless(cursor: Cursor, deal_id: int) -> bool:
    """Tell whether a deal waits for somebody who is not back."""
    cursor.execute(
        f"SELECT {_HOPELESS} FROM tksva_q.deal d WHERE d.deal_id = %(deal)s",  # noqa: S608
        {"deal": deal_id, "nobody": NOBODY},
    )
    return cursor.fetchone() == (True,)


def take_along(cursor: Cursor, job: jobs.Job, most: int) -> list[int]:
    """Hold the deals whose jobs would run next, `most` of them, in the order of the queue; return them."""
    draw.lock(cursor)
    cursor.execute(
        "UPDATE tksva_q.deal SET held_by = %(job)s, held_attempt = %(attempt)s WHERE deal_id IN ("  # noqa: S608
        "   SELECT d.deal_id FROM tksva_q.deal d JOIN tksva_q.job j ON j.id = d.job_id"
        "   WHERE d.state = 'waiting' AND NOT d.served AND j.state = 'waiting' AND j.run_at <= clock_timestamp()"
        f"     AND NOT j.held AND NOT {_HELD} AND NOT {_HOPELESS}"
        "   ORDER BY j.priority DESC, j.queued_at, j.id LIMIT %(most)s) RETURNING deal_id",
        {"job": job.id, "attempt": job.attempt, "most": most, "nobody": NOBODY},
    )
    return sorted(row[0] for row in cursor.fetchall())


def let_go(cursor: Cursor, job: jobs.Job) -> None:
    """Hold nothing any more."""
    cursor.execute("UPDATE tksva_q.deal SET held_by = NULL WHERE held_by = %s", (job.id,))


def reopen(cursor: Cursor, deals: list[int]) -> list[Deal]:
    """Give up what need not stand any more of earlier choices, and return the deals.

    Nothing was sent yet: of the drawn, whoever went on leave; of the contacts' own people, all: they are asked again.
    """
    draw.lock(cursor)
    draw.give_up(cursor, deals)
    cursor.execute(
        "UPDATE tksva_q.deal SET user_id = NULL, why = NULL WHERE deal_id = ANY(%s) AND why = 'contact'"
        " AND NOT deal_sent",
        (deals,),
    )
    return read(cursor, deals)


def choose(cursor: Cursor, owners: dict[int, str], since: datetime) -> list[Deal]:
    """Choose for deals whose contacts have been asked; return those that have somebody. For the rest see `draw`."""
    draw.lock(cursor)
    source = random.SystemRandom()
    for deal_id, owner in owners.items():
        draw.choose(cursor, deal_id, owner, since, source)
    return [deal for deal in read(cursor, list(owners)) if deal.user_id is not None]


def hand_over(cursor: Cursor, deals: list[int], since: datetime) -> tuple[list[Deal], list[int]]:
    """Look a last time who is on leave, and note that the deals are sent now.

    Returns:
        The deals that have somebody; and which of them had never been sent before.
    """
    draw.lock(cursor)
    draw.give_up(cursor, deals)
    found = choose(cursor, dict.fromkeys(deals, ""), since)
    cursor.execute(
        "UPDATE tksva_q.deal SET deal_sent = true WHERE deal_id = ANY(%s) AND NOT deal_sent RETURNING deal_id",
        ([deal.deal_id for deal in found],),
    )
    return found, [row[0] for row in cursor.fetchall()]


def take_back(cursor: Cursor, deals: list[int]) -> None:
    """Note that what was sent has certainly not been accepted."""
    cursor.execute("UPDATE tksva_q.deal SET deal_sent = false WHERE deal_id = ANY(%s) AND NOT deal_updated", (deals,))


def taking_back(database: Database, deals: list[int]) -> Callable[[], None]:
    """Return what does `take_back` to the deals that are in the list by then."""

    def take() -> None:
        with database.statement() as cursor:
            take_back(cursor, deals)

    return take


def deals_updated(cursor: Cursor, deals: list[int]) -> None:
    """Note that Bitrix24 has the deals' new people."""
    cursor.execute("UPDATE tksva_q.deal SET deal_updated = true WHERE deal_id = ANY(%s)", (deals,))


def contacts_updated(cursor: Cursor, deals: list[int]) -> None:
    """Note that Bitrix24 has the new people of the deals' contacts."""
    cursor.execute("UPDATE tksva_q.deal SET contact_updated = true WHERE deal_id = ANY(%s)", (deals,))


def read(cursor: Cursor, deals: list[int]) -> list[Deal]:
    """Return how far these deals are."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM tksva_q.deal d WHERE d.deal_id = ANY(%s) ORDER BY d.job_id, d.deal_id",  # noqa: S608
        (deals,),
    )
    return [Deal(*row) for row in cursor.fetchall()]
