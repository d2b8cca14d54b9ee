"""Whether the queue lives: for monitoring, in numbers, and in detail for a person. Never waits for the database."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

import reports
from db import Cursor, DatabaseAway
from web import metrics
from web.api import problems
from web.background import BackgroundCheck, Finding
from web.context import Context, Open

#: Seconds that an answer waits for the database's part of the details.
DETAIL_SECONDS = 2.0

router = APIRouter(tags=["состояние"])


class Health(BaseModel):
    """Whether the queue lives."""

    status: str = Field(description="ok или то, что не так")
    loop_age_seconds: float | None = Field(default=None, description="сколько назад цикл подал признак жизни")


class Part(BaseModel):
    """One thing that the queue needs."""

    ok: bool
    text: str


class DetailedHealth(Health):
    """Whether the queue lives, part by part."""

    loop: Part
    database: Part
    warehouse: Part
    oldest_waiting: Part
    disk: Part


class Freshness(Health):
    """How fresh everything is."""

    oldest_waiting_seconds: float | None
    warehouse_tables: dict[str, float | None] = Field(description="секунд с последней подмены таблицы хранилища")


_UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "цикл или база данных не отвечает"}
}


def health_of(context: Context) -> Health:
    """Return the health by the last look at the database."""
    if reason := context.monitor.away():
        return Health(status=f"база данных: {reason}")
    look = context.monitor.look
    if look is None or look.loop_age is None:
        return Health(status="цикл: очередь не запущена")
    if not look.loop_alive:
        return Health(status=f"цикл: молчит {look.loop_age:.0f} с", loop_age_seconds=look.loop_age)
    return Health(status="ok", loop_age_seconds=look.loop_age)


def _answer(health: Health) -> JSONResponse:
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503, {"Cache-Control": "no-store"})


@router.get(
    "/healthz", summary="живёт ли очередь", response_model=Health, responses=_UNHEALTHY, response_description="живёт"
)
async def healthz(context: Open) -> Response:
    """200 while the loop goes round and the database answers, 503 otherwise."""
    return _answer(health_of(context))


@router.get(
    "/healthz/detailed",
    summary="живёт ли очередь, по частям",
    response_model=DetailedHealth,
    response_description="живёт",
    responses={503: {**_UNHEALTHY[503], "model": DetailedHealth}},
)
async def detailed(context: Open) -> Response:
    """The status says the same as `/healthz`; a warehouse or a disk in trouble is shown and does not change it."""
    health = health_of(context)
    oldest, warehouse, disk = await asyncio.gather(
        _oldest_waiting(context), _found(context.warehouse), _found(context.disk)
    )
    away = context.monitor.away()
    return _answer(
        DetailedHealth(
            **health.model_dump(),
            loop=Part(ok=health.status == "ok", text=_loop_text(context)),
            database=Part(ok=away is None, text=away or "отвечает"),
            warehouse=Part(ok=warehouse.ok, text=warehouse.text),
            oldest_waiting=oldest,
            disk=Part(ok=disk.ok, text=disk.text),
        )
    )


@router.get(
    "/healthz/freshness",
    summary="насколько всё свежее",
    response_model=Freshness,
    response_description="живёт",
    responses={503: {**_UNHEALTHY[503], "model": Freshness}},
)
async def freshness(context: Open) -> Response:
    """Seconds since the loop's last sign of life, the age of the oldest waiting job and of the warehouse's tables."""
    status = await _status(context)
    health = health_of(context)
    tables = {table.name: table.refresh_seconds for table in status.tables} if status else {}
    oldest = status.oldest_waiting_seconds if status else None
    return _answer(Freshness(**health.model_dump(), oldest_waiting_seconds=oldest, warehouse_tables=tables))


@router.get(
    "/metrics",
    summary="для Prometheus",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "показатели", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(503),
    },
)
async def prometheus(context: Open) -> Response:
    """What every process did, and how the queue stands; survives restarts."""
    text = await context.pool.read(lambda cursor: metrics.collect(cursor, context.workloads))
    return Response(text, media_type=metrics.CONTENT_TYPE)


def _loop_text(context: Context) -> str:
    look = context.monitor.look
    if look is None:
        return "неизвестно"
    return "очередь не запущена" if look.loop_age is None else f"был {look.loop_age:.0f} с назад"


async def _oldest_waiting(context: Context) -> Part:
    status = await _status(context)
    if status is None:
        return Part(ok=False, text="неизвестно")
    if status.oldest_waiting_seconds is None:
        return Part(ok=True, text="ничего не ждёт")
    return Part(ok=True, text=f"{status.oldest_waiting_seconds:.0f} с, всего ждут {status.waiting}")


async def _status(context: Context) -> reports.Status | None:
    def read(cursor: Cursor) -> reports.Status:
        return reports.status(cursor)

    try:
        return await asyncio.wait_for(context.pool.read(read), DETAIL_SECONDS)
    except (DatabaseAway, TimeoutError):
        return None


async def _found(check: BackgroundCheck) -> Finding:
    return await asyncio.to_thread(check)
