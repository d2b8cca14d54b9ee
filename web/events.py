"""Progress as server-sent events: what the monitor sees, to every browser that is open."""

import json
from collections.abc import AsyncIterator
from functools import lru_cache

from fastapi import APIRouter
from sse_starlette import EventSourceResponse, ServerSentEvent

from web.context import Context, Open
from web.monitor import Look
from words import duration, speed, thousands

#: Seconds between signs of life on a stream that has nothing to say.
PING_SECONDS = 20

router = APIRouter(tags=["задания"])


@router.get(
    "/api/events",
    summary="ход, события сервера",
    response_class=EventSourceResponse,
    responses={200: {"description": "поток событий", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(context: Open) -> EventSourceResponse:
    """`progress`: every running job, whenever one has moved; `changed`: lists have; `away`: the database is."""
    return EventSourceResponse(_events(context), ping=PING_SECONDS, send_timeout=30)


async def _events(context: Context) -> AsyncIterator[ServerSentEvent]:
    version: object = None
    async for look in context.monitor.looks():
        if look is None:
            version = None
            yield ServerSentEvent("{}", event="away")
            continue
        yield ServerSentEvent(_progress(look), event="progress")
        if look.version != version:
            version = look.version
            yield ServerSentEvent("{}", event="changed")


@lru_cache(maxsize=4)
def _progress(look: Look) -> str:
    """Return a look as JSON; the same text for all browsers."""
    jobs = [
        {
            "id": job.id,
            "rows": job.rows,
            "total": job.total,
            "text": f"{thousands(job.rows)} из {thousands(job.total)}" if job.total is not None else "считаем строки…",
            "speed": speed(job.speed),
            "left": duration(job.left),
        }
        for job in look.running
    ]
    return json.dumps({"loop": look.loop_alive, "running": jobs}, ensure_ascii=False)
