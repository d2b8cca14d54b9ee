"""Deals of Bitrix24 among managers: a call says that a deal has come in, somebody is made responsible for it."""

import json
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from db import Cursor
from errors import Postponed
from integrations.deals import book, draw
from integrations.deals.options import DealSettings
from processings import processing
from settings import load_part
from tasks import Task

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter
    from prometheus_client import Metric

TITLE = "Сделки"
SETTINGS = DealSettings
#: Seconds before a deal looks again whether somebody is there; whoever comes back wakes it at once.
NOBODY_SECONDS = 60.0


@processing(book.FORM)
def process_carex_random(task: Task) -> None:
    """Choose who is responsible, once, and tell Bitrix24."""
    from integrations.deals.bitrix import Bitrix  # noqa: PLC0415 -- only such a job pays for httpx

    params = json.loads(task.job.params or "{}")
    deal_id, cont_id = int(params["deal_id"]), int(params["cont_id"])
    options = load_part(DealSettings)
    bitrix = Bitrix(task, options)
    with task.database.transaction() as cursor:
        choice = draw.stored(cursor, deal_id)
    if choice is None:
        contact = bitrix.call("crm.contact.get", {"id": cont_id})
        owner = str((contact or {}).get("ASSIGNED_BY_ID") or "")
        choice = _choose(task, deal_id, "" if owner in {"0", options.tech_account} else owner)
    fields = {"fields": {"ASSIGNED_BY_ID": choice.user_id}}
    if not choice.deal_updated:
        bitrix.call("crm.deal.update", {"id": deal_id} | fields)
        with task.database.statement() as cursor:
            cursor.execute("UPDATE tksva_q.deal SET deal_updated = true WHERE deal_id = %s", (deal_id,))
    if choice.why == "draw":
        bitrix.call("crm.contact.update", {"id": cont_id} | fields)


def _choose(task: Task, deal_id: int, owner: str) -> draw.Choice:
    with task.database.transaction() as cursor:
        user_id = owner or draw.draw(cursor, random.SystemRandom())
        if user_id is None:
            raise Postponed(book.NOBODY, NOBODY_SECONDS)
        choice = draw.Choice(user_id, "contact" if owner else "draw")
        draw.store(cursor, deal_id, choice)
    return choice


def routes() -> "APIRouter":
    """Return the calls and the page."""
    from integrations.deals.routes import router  # noqa: PLC0415 -- only the web process has fastapi

    return router


def commands() -> "typer.Typer":
    """Return `manage.py deals ...`."""
    from integrations.deals.commands import app  # noqa: PLC0415 -- only the command line has typer

    return app


def metrics(cursor: Cursor) -> "Iterable[Metric]":
    """Return the six metrics."""
    from integrations.deals.figures import collect  # noqa: PLC0415 -- only the web process has prometheus_client

    return collect(cursor)
