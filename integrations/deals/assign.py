"""Makes somebody responsible for a deal and its contact, step by step; each step is noted, so that none is lost."""

import time
from datetime import datetime
from typing import Any

from errors import Postponed, UserError
from integrations.deals import steps, together
from integrations.deals.bitrix import Bitrix, BitrixError
from integrations.deals.options import DealSettings
from integrations.deals.steps import Deal
from tasks import Task

#: Seconds before a deal looks again whether somebody is there; whoever comes back wakes it at once.
NOBODY_SECONDS = 60.0
#: Seconds between two looks at a deal that another attempt sees to.
LOOK_SECONDS = 0.1


def assign(task: Task, deal_id: int, cont_id: int, options: DealSettings) -> None:
    """See to a deal, and on the way to those that wait behind it.

    Raises:
        BitrixError: Bitrix24 refused, or did not answer.
        Postponed: there is nobody to be drawn.
        Interrupted: the worker was asked to stop.
        UserError: the deal is another job's.
    """
    with task.database.transaction() as cursor:
        if not steps.known(cursor, task.job, deal_id, cont_id):
            raise UserError(f"сделкой {deal_id} занимается другое задание")
        if steps.hopeless(cursor, deal_id):
            raise Postponed(steps.NOBODY, NOBODY_SECONDS)
    deal, since = _take_up(task, deal_id)
    if deal.served:
        return
    bitrix = Bitrix(task, options)
    together.see_to(task, bitrix, deal, since, options)
    _Alone(task, bitrix, since).see_to(deal_id)


def _take_up(task: Task, deal_id: int) -> tuple[Deal, datetime]:
    while True:
        task.may_go_on()
        with task.database.transaction() as cursor:
            found = steps.take_up(cursor, task.job, deal_id)
        if found:
            return found
        time.sleep(LOOK_SECONDS)


class _Alone:
    """One deal, a request for each step."""

    def __init__(self, task: Task, bitrix: Bitrix, since: datetime) -> None:
        self._task = task
        self._bitrix = bitrix
        self._since = since

    def see_to(self, deal_id: int) -> None:
        with self._task.database.transaction() as cursor:
            [deal] = steps.reopen(cursor, [deal_id])
        if deal.user_id is None:
            deal = self._choose(deal)
        if not deal.deal_updated:
            deal = self._update_deal(deal)
        if not deal.served:
            self._bitrix.call("crm.contact.update", lambda: {"id": deal.cont_id} | deal.fields)
            with self._task.database.statement() as cursor:
                steps.contacts_updated(cursor, [deal_id])

    def _choose(self, deal: Deal) -> Deal:
        contact = self._bitrix.call("crm.contact.get", lambda: {"id": deal.cont_id})
        owner = self._bitrix.owner(contact)
        if owner is None:
            raise BitrixError("crm.contact.get: в ответе нет контакта")
        with self._task.database.transaction() as cursor:
            chosen = steps.choose(cursor, {deal.deal_id: owner}, self._since)
        if not chosen:
            raise Postponed(steps.NOBODY, NOBODY_SECONDS)
        return chosen[0]

    def _update_deal(self, deal: Deal) -> Deal:
        unsent: list[int] = []

        def body() -> dict[str, Any]:
            with self._task.database.transaction() as cursor:
                found, unsent[:] = steps.hand_over(cursor, [deal.deal_id], self._since)
            if not found:
                raise Postponed(steps.NOBODY, NOBODY_SECONDS)
            return {"id": deal.deal_id} | found[0].fields

        self._bitrix.call("crm.deal.update", body, steps.taking_back(self._task.database, unsent))
        with self._task.database.transaction() as cursor:
            steps.deals_updated(cursor, [deal.deal_id])
            return steps.read(cursor, [deal.deal_id])[0]
