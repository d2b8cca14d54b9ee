"""Sees to the deals that wait behind one as well: a step of fifty deals costs one request of Bitrix24's `batch`.

It is a short cut and no more. Whatever does not come through here is left as it is, and done by the deal's own job
with a request for each step, which knows how to try again and what to complain of.
"""

import time
from datetime import datetime
from typing import Any

from integrations.deals import steps
from integrations.deals.bitrix import Bitrix, BitrixError
from integrations.deals.options import DealSettings
from integrations.deals.steps import Deal
from tasks import Task

#: Seconds without batches after one that failed as a whole.
SHY_SECONDS = 30.0

_shy_until = 0.0  # monotonic seconds, of this process


def see_to(task: Task, bitrix: Bitrix, deal: Deal, since: datetime, options: DealSettings) -> None:
    """See to a deal and to those behind it; where there are none, or it fails, do nothing that counts.

    Args:
        task: of the deal.
        bitrix: the webhook.
        deal: as it was taken up.
        since: when that was.
        options: how many at a time.
    """
    global _shy_until  # noqa: PLW0603 -- what one job has learned of the service, the next of the process need not
    if options.bitrix_batch < 2 or time.monotonic() < _shy_until:  # noqa: PLR2004
        return
    with task.database.transaction() as cursor:
        others = steps.take_along(cursor, task.job, options.bitrix_batch - 1)
    if not others:
        return
    try:
        _Together(task, bitrix, since).see_to([deal.deal_id, *others])
    except BitrixError:
        _shy_until = time.monotonic() + SHY_SECONDS
    with task.database.statement() as cursor:
        steps.let_go(cursor, task.job)


class _Together:
    """Some deals, a request for a step of all."""

    def __init__(self, task: Task, bitrix: Bitrix, since: datetime) -> None:
        self._task = task
        self._bitrix = bitrix
        self._since = since

    def see_to(self, deals: list[int]) -> None:
        with self._task.database.transaction() as cursor:
            found = steps.reopen(cursor, deals)
        chosen = self._choose([deal for deal in found if deal.user_id is None])
        ready = [deal for deal in found if deal.user_id is not None] + chosen
        updated = [deal for deal in ready if deal.deal_updated]
        updated += self._update_deals([deal.deal_id for deal in ready if not deal.deal_updated])
        self._update_contacts([deal for deal in updated if not deal.served])

    def _choose(self, deals: list[Deal]) -> list[Deal]:
        if not deals:
            return []
        contacts = self._bitrix.batch("crm.contact.get", lambda: {deal.deal_id: {"id": deal.cont_id} for deal in deals})
        owners = {deal: self._bitrix.owner(contact) for deal, contact in contacts.items()}
        with self._task.database.transaction() as cursor:
            # In the order of the queue: who comes first is drawn first.
            asked = {deal.deal_id: owners.get(deal.deal_id) for deal in deals}
            known = {deal: owner for deal, owner in asked.items() if owner is not None}
            return steps.choose(cursor, known, self._since)

    def _update_deals(self, deals: list[int]) -> list[Deal]:
        if not deals:
            return []
        unsent: list[int] = []

        def bodies() -> dict[int, dict[str, Any]]:
            with self._task.database.transaction() as cursor:
                found, unsent[:] = steps.hand_over(cursor, deals, self._since)
            return {deal.deal_id: {"id": deal.deal_id} | deal.fields for deal in found}

        refused = steps.taking_back(self._task.database, unsent)
        done = list(self._bitrix.batch("crm.deal.update", bodies, refused))
        with self._task.database.transaction() as cursor:
            steps.deals_updated(cursor, done)
            steps.take_back(cursor, [deal for deal in unsent if deal not in done])
            return steps.read(cursor, done)

    def _update_contacts(self, deals: list[Deal]) -> None:
        if not deals:
            return
        bodies = {deal.deal_id: {"id": deal.cont_id} | deal.fields for deal in deals}
        done = list(self._bitrix.batch("crm.contact.update", lambda: bodies))
        with self._task.database.statement() as cursor:
            steps.contacts_updated(cursor, done)
