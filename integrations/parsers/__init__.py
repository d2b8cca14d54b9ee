"""The parser manager: tasks for parsers go out through Kafka, their statuses come back."""

from typing import Any

from db import Cursor
from integrations.parsers import groups
from integrations.parsers.settings import ParserSettings
from processings import processing
from schedules import Schedule
from tasks import Task

SETTINGS = ParserSettings

SCHEDULES = (
    Schedule("parsers_generate", "* * * * *", "parsers_generate", missed="skip"),
    Schedule("parsers_cancel_expired", "* * * * *", "parsers_cancel_expired", missed="skip"),
)


@processing("parsers_generate", time_limit=60)
def generate(task: Task) -> None:
    """Make the tasks that are due."""
    with task.database.transaction() as cursor:
        groups.generate(cursor)


@processing("parsers_cancel_expired", time_limit=60)
def cancel_expired(task: Task) -> None:
    """Cancel what hangs."""
    with task.database.transaction() as cursor:
        groups.cancel_expired(cursor)


def routes() -> Any:
    """Return the HTTP routes."""
    from integrations.parsers.routes import router  # noqa: PLC0415 -- only the web process pays for it

    return router


def metrics(cursor: Cursor) -> list[Any]:
    """Return what Prometheus is told."""
    from integrations.parsers.figures import metrics as figures  # noqa: PLC0415 -- only the web process pays for it

    return figures(cursor)
