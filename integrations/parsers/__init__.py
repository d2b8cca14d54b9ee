"""The parser manager: tasks for parsers go out through Kafka, their statuses come back, and what hangs is cancelled.

Tasks are made by `groups.py`, sent by the service in `outbox.py`, followed by the one in `consumer.py`. The web process
and the jobs need the database only; Kafka's client is imported by the two services alone.
"""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from integrations.parsers import groups
from integrations.parsers.settings import ParserSettings
from processings import processing
from schedules import Schedule
from services import Runtime, Service
from settings import load_part
from tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import APIRouter
    from prometheus_client import Metric

    from db import Cursor
    from workloads import Check

TITLE = "Парсеры"
SETTINGS = ParserSettings
#: Seconds of silence that a consumer is allowed in any case: connecting to a database that is away takes some.
LEAST_SILENCE = 15.0
#: Seconds that are spent at a time on forgetting; what is left is done a minute later.
FORGET_SECONDS = 20.0

SCHEDULES = (
    Schedule("parsers_generate", "* * * * *", "parsers_generate", missed="skip"),
    Schedule("parsers_cancel_expired", "* * * * *", "parsers_cancel_expired", missed="skip"),
)


@processing("parsers_generate", time_limit=60)
def generate(task: Task) -> None:
    """Make the tasks that are due; by the schedule's moment, or a job that begins late would make the next one late."""
    params = json.loads(task.job.params or "{}")
    planned = params.get("planned_at") if isinstance(params, dict) else None
    with task.database.transaction() as cursor:
        groups.generate(cursor, datetime.fromisoformat(planned) if isinstance(planned, str) else None)


@processing("parsers_cancel_expired", time_limit=60)
def cancel_expired(task: Task) -> None:
    """Cancel what hangs, and forget what has ended or was refused long ago."""
    for step in (groups.cancel_expired, groups.forget_refused, groups.fold_counts):
        with task.database.transaction() as cursor:
            step(cursor)
    until, forgotten = time.monotonic() + FORGET_SECONDS, groups.FORGOTTEN
    while forgotten == groups.FORGOTTEN and time.monotonic() < until:
        task.may_go_on()
        with task.database.transaction() as cursor:
            forgotten = groups.forget_ended(cursor)


def _hand_out(runtime: Runtime) -> None:
    from integrations.parsers import outbox  # noqa: PLC0415 -- only the service pays for aiokafka

    outbox.run(runtime)


def _follow(runtime: Runtime) -> None:
    from integrations.parsers import consumer  # noqa: PLC0415 -- as above

    consumer.run(runtime)


def SERVICES() -> tuple[Service, ...]:
    """Return the two services; none where this installation leaves Kafka to others."""
    options = load_part(ParserSettings)
    if not options.kafka_workers_enabled:
        return ()
    silent = max(LEAST_SILENCE, options.kafka_session_timeout_ms / 1000)
    return Service("parsers_outbox", _hand_out), Service("parsers_consumer", _follow, silent)


def routes() -> "APIRouter":
    """Return the API and the page."""
    from fastapi import APIRouter  # noqa: PLC0415 -- only the web process pays for it

    from integrations.parsers import calls, page, sources_api, tasks_api  # noqa: PLC0415

    together = APIRouter()
    for part in (calls, tasks_api, sources_api, page):
        together.include_router(part.router)
    return together


def metrics(cursor: "Cursor") -> "Iterable[Metric]":
    """Return what Prometheus is told."""
    from integrations.parsers import figures  # noqa: PLC0415 -- only the web process pays for it

    return figures.collect(cursor)


def health(cursor: "Cursor") -> "dict[str, Check]":
    """Return whether statuses are followed and tasks get out."""
    from integrations.parsers import figures  # noqa: PLC0415 -- only the web process pays for it

    return figures.checks(cursor)
