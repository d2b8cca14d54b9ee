"""The company's loaders on schedule: their runs, the freshness of what they load, alerts."""

import json
from typing import TYPE_CHECKING

from errors import UserError
from integrations.timers.definitions import WATCH
from integrations.timers.definitions import all_schedules as SCHEDULES  # noqa: F401, N812 -- a workload's part
from integrations.timers.options import TimerSettings
from processings import processing
from tasks import Task

if TYPE_CHECKING:
    import typer
    from fastapi import APIRouter

    from db import Cursor
    from integrations.timers.freshness import Freshness
    from workloads import Check

TITLE = "Таймеры"
SETTINGS = TimerSettings


@processing("timer")
def timer(task: Task) -> None:
    """Run the command of the timer that the job names."""
    from integrations.timers import runner  # noqa: PLC0415 -- only the child that runs it

    params = json.loads(task.job.params or "{}")
    name = params.get("timer") if isinstance(params, dict) else None
    if not isinstance(name, str):
        raise UserError("timer: не указано, какой таймер запустить")
    runner.run(task, name)


@processing(WATCH, time_limit=300.0)
def timers_watch(task: Task) -> None:
    """End the runs of the dead, judge the rules of alerts, say what is to be said, fill ClickHouse."""
    from integrations.timers import watch  # noqa: PLC0415 -- only the child that runs it

    watch.look(task.database)


def commands() -> "typer.Typer":
    """Return `manage.py timers …`."""
    from integrations.timers.cli import app  # noqa: PLC0415 -- only the command line

    return app


def routes() -> "APIRouter":
    """Return the page and its buttons."""
    from integrations.timers.pages import router  # noqa: PLC0415 -- only the web process

    return router


def health(cursor: "Cursor") -> "dict[str, Check]":
    """Return whether the data are fresh and the timers in time."""
    from integrations.timers.checks import checks  # noqa: PLC0415 -- only the web process

    return checks(cursor)


def sources(cursor: "Cursor") -> "list[Freshness]":
    """Return how fresh each source is."""
    import datetime  # noqa: PLC0415 -- only the web process

    from integrations.timers import definitions, freshness  # noqa: PLC0415 -- as above

    return freshness.look(cursor, definitions.load(), datetime.datetime.now(datetime.UTC))
