"""Deals of Bitrix24 among managers: a call says that a deal has come in, somebody is made responsible for it."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from db import Cursor
from errors import UserError
from integrations.deals import broker, steps
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


@processing(steps.FORM)
def process_carex_random(task: Task) -> None:
    """Choose who is responsible, once, and tell Bitrix24."""
    from integrations.deals.assign import assign  # noqa: PLC0415 -- only such a job pays for httpx

    deal_id, cont_id = _ids(task.job.params)
    with broker.counting(task.database):
        assign(task, deal_id, cont_id, load_part(DealSettings))


def _ids(params: str | None) -> tuple[int, int]:
    try:
        given = json.loads(params or "{}")
        return int(given["deal_id"]), int(given["cont_id"])
    except (ValueError, TypeError, KeyError):
        raise UserError("нужны целые числа: deal_id — сделка, cont_id — её контакт") from None


def routes() -> "APIRouter":
    """Return the calls and the page."""
    from integrations.deals.api import router  # noqa: PLC0415 -- only the web process has fastapi

    return router


def commands() -> "typer.Typer":
    """Return `manage.py deals ...`."""
    from integrations.deals.cli import app  # noqa: PLC0415 -- only the command line has typer

    return app


def metrics(cursor: Cursor) -> "Iterable[Metric]":
    """Return the six metrics."""
    from integrations.deals.figures import collect  # noqa: PLC0415 -- only the web process has prometheus_client

    return collect(cursor)
