"""The page of the parsers: what works, tasks by state, groups, sources, how far the statuses are applied."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

import services
from db import Cursor
from integrations.parsers import SERVICES, crud, figures, groups
from integrations.parsers.records import GROUPS
from web import pages
from web.context import Authorized, Open

#: Groups, sources and refused messages that the page shows.
ROWS = 20
SOURCE_ROWS = 100

STATES = {
    "created": "создана",
    "sent": "отправлена",
    "in_progress": "в работе",
    "success": "успех",
    "error": "ошибка",
    "cancelled": "отменена",
}
#: The colour of each, by the name of a job's state that looks the same.
BADGES = {
    "created": "waiting",
    "sent": "waiting",
    "in_progress": "running",
    "success": "done",
    "error": "failed",
    "cancelled": "cancelled",
}
KINDS = {"rss": "RSS", "vk": "ВКонтакте", "youtube": "YouTube"}
COUNTED = {
    "applied": "применено",
    "ignored": "опоздало",
    "malformed": "не разобрано",
    "unknown": "без задачи",
}

_SOURCES = """
SELECT s.name, s.type, s.is_active,
       (SELECT count(*) FROM parsers.source_task_type st WHERE st.source_id = s.id AND st.is_active),
       last.status, last.created_at, last.error
FROM (SELECT * FROM parsers.source ORDER BY name, id LIMIT %s) s
LEFT JOIN LATERAL (SELECT status, created_at, error FROM parsers.task WHERE source_id = s.id
                   ORDER BY created_at DESC LIMIT 1) last ON true
ORDER BY s.name, s.id
"""
_REFUSED = """
SELECT at, kind, reason, topic, partition, message_offset FROM parsers.refused ORDER BY id DESC LIMIT %s
"""


@dataclass(frozen=True)
class SourceLine:
    """A source, with its last task."""

    name: str
    type: str
    is_active: bool
    task_types: int  # that are on
    status: str | None
    created_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class Refusal:
    """A message that said nothing about a task of ours."""

    at: datetime
    kind: str
    reason: str
    topic: str
    partition: int
    offset: int


router = APIRouter(prefix="/parsers", include_in_schema=False)


@router.get("")
async def show(context: Open, request: Request) -> HTMLResponse:
    """Everything about the parsers at a glance."""
    words: dict[str, Any] = {"states": STATES, "badges": BADGES, "kinds": KINDS, "counted": COUNTED}
    return pages.answer(context, request, "parsers.html", **await context.pool.read(read), **words)


def read(cursor: Cursor) -> dict[str, Any]:
    """Return what the page shows; of the tasks it reads the newest, however many there are."""
    by_kind = figures.tasks(cursor)
    cursor.execute(_SOURCES, (SOURCE_ROWS,))
    sources = [SourceLine(*row) for row in cursor.fetchall()]
    cursor.execute("SELECT count(*) FROM parsers.source")
    total = int((cursor.fetchone() or (0,))[0])
    cursor.execute(_REFUSED, (ROWS,))
    refused = [Refusal(*row) for row in cursor.fetchall()]
    cursor.execute("SELECT id, title FROM parsers.task_type")
    task_types = dict(cursor.fetchall())
    return {
        "services": [(state, services.check(state)) for state in services.states(cursor, _names())],
        "tasks": {state: {kind: n for s, kind, n in by_kind if s == state} for state in STATES},
        "sources": sources,
        "more_sources": total - len(sources),
        "refused": refused,
        "task_types": task_types,
        "groups": GROUPS.page(cursor, {}, 1, ROWS)[0],
        "partitions": figures.partitions(cursor),
        "counters": figures.counters(cursor),
    }


def _names() -> list[str]:
    return [service.name for service in SERVICES()]


@router.post("/generate")
async def generate(context: Authorized, request: Request, token: pages.Text = "") -> Response:
    """Make the tasks that are due."""
    context.guard.check_form(request, token)
    await crud.write(context, groups.generate)
    return RedirectResponse("/parsers", 303)


@router.post("/cancel_expired")
async def cancel_expired(context: Authorized, request: Request, token: pages.Text = "") -> Response:
    """Cancel what is past its time."""
    context.guard.check_form(request, token)
    await crud.write(context, groups.cancel_expired)
    return RedirectResponse("/parsers", 303)
