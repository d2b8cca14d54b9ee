"""Whether the queue lives: for monitoring, in numbers, and in detail for a person. Never waits for the database."""

import asyncio
import datetime
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

import reports
import services
from db import Cursor, DatabaseAway, unforeseen
from findings import Finding
from logs import log, redact
from web import metrics
from web.api import problems
from web.background import BackgroundCheck
from web.context import Context, Open

#: Seconds that an answer waits for the database's part of the details.
DETAIL_SECONDS = 2.0

router = APIRouter(tags=["состояние"])


class CheckModel(BaseModel):
    """Whether one thing is as it should be."""

    status: str = Field(description="ok, warning или error")
    text: str


_UNKNOWN = CheckModel(status="error", text="неизвестно")


class Health(BaseModel):
    """Whether the queue lives."""

    timestamp: datetime.datetime = Field(default_factory=lambda: datetime.datetime.now(datetime.UTC))
    checks: dict[str, CheckModel] = Field(default_factory=dict)
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


class SourceModel(BaseModel):
    """How fresh the data of a source are."""

    source: str
    latest_date: datetime.date | None
    days_behind: int | None
    total_rows: int
    status: str = Field(description="ok, warning или error")
    text: str


class Freshness(Health):
    """How fresh everything is."""

    oldest_waiting_seconds: float | None
    data: list[SourceModel] = Field(description="источники таймеров")
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


def _own_checks(context: Context) -> dict[str, CheckModel]:
    """Return what is known without asking the database."""
    away, health = context.monitor.away(), health_of(context)
    loop = CheckModel(status="ok" if health.status == "ok" else "error", text=_loop_text(context))
    return {"database": CheckModel(status="error" if away else "ok", text=away or "отвечает"), "loop": loop}


async def _broker_checks(context: Context) -> dict[str, CheckModel]:
    """Return whether the broker answers, where there is one: while it does not, jobs wait."""
    if context.broker is None:
        return {}
    found = await _found(context.broker)
    return {"broker": CheckModel(status="ok" if found.ok else "error", text=found.text)}


async def _workload_checks(context: Context) -> dict[str, CheckModel]:
    """Return the checks of the workloads that are on; one that cannot be made says so."""
    found = await _service_checks(context)
    for workload in context.workloads:
        if not workload.offers("health"):
            continue
        checks = await _read(context, partial(workload.part, "health"))
        if checks is None:
            found[workload.name] = _UNKNOWN
        else:
            found |= {name: CheckModel(status=check.status, text=check.text) for name, check in checks.items()}
    return found


async def _service_checks(context: Context) -> dict[str, CheckModel]:
    names = services.defined(context.workloads)
    states = await _read(context, lambda cursor: services.states(cursor, names)) if names else ()
    if states is None:
        return {name: _UNKNOWN for name in names}
    checks = {state.name: services.check(state) for state in states}
    return {name: CheckModel(status=check.status, text=check.text) for name, check in checks.items()}


def _judged(health: Health, checks: dict[str, CheckModel]) -> str:
    """Return the status of the queue and of its workloads together: what is wrong first."""
    if health.status != "ok":
        return health.status
    for level in ("error", "warning"):
        if wrong := [f"{name}: {check.text}" for name, check in checks.items() if check.status == level]:
            return wrong[0] if level == "error" else level
    return "ok"


def _answer(health: Health) -> JSONResponse:
    return JSONResponse(
        health.model_dump(mode="json"),
        200 if health.status in {"ok", "warning"} else 503,
        {"Cache-Control": "no-store"},
    )


@router.get(
    "/healthz", summary="живёт ли очередь", response_model=Health, responses=_UNHEALTHY, response_description="живёт"
)
async def healthz(context: Open) -> Response:
    """200 while the loop goes round and the database answers, 503 otherwise."""
    return _answer(health_of(context).model_copy(update={"checks": _own_checks(context)}))


@router.get(
    "/healthz/detailed",
    summary="живёт ли очередь, по частям",
    response_model=DetailedHealth,
    response_description="живёт",
    responses={503: {**_UNHEALTHY[503], "model": DetailedHealth}},
)
async def detailed(context: Open) -> Response:
    """Like `/healthz`, with the checks of the workloads; a warehouse or a disk in trouble is shown, no more."""
    health = health_of(context)
    oldest, warehouse, disk, broker, extra = await asyncio.gather(
        _oldest_waiting(context),
        _found(context.warehouse),
        _found(context.disk),
        _broker_checks(context),
        _workload_checks(context),
    )
    checks = _own_checks(context) | broker | extra
    away = context.monitor.away()
    return _answer(
        DetailedHealth(
            status=_judged(health, checks),
            loop_age_seconds=health.loop_age_seconds,
            checks=checks,
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
    data, unknown = await _sources(context)
    checks = {source.source: CheckModel(status=source.status, text=source.text) for source in data} | unknown
    return _answer(
        Freshness(
            status=_judged(health, checks),
            loop_age_seconds=health.loop_age_seconds,
            checks=_own_checks(context) | unknown,
            data=data,
            oldest_waiting_seconds=oldest,
            warehouse_tables=tables,
        )
    )


async def _sources(context: Context) -> tuple[list[SourceModel], dict[str, CheckModel]]:
    """Return the sources of the workloads that are on, and a check for each of these that could not be asked."""
    found: list[SourceModel] = []
    unknown: dict[str, CheckModel] = {}
    for workload in context.workloads:
        if workload.offers("sources"):
            sources = await _read(context, partial(workload.part, "sources"))
            if sources is None:
                unknown[workload.name] = _UNKNOWN
            else:
                found += [SourceModel(**asdict(source)) for source in sources]
    return found, unknown


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
    status: reports.Status | None = await _read(context, reports.status)
    return status


async def _read(context: Context, read: Callable[[Cursor], Any]) -> Any:
    """Return what `read` finds in the database, None where it does not answer in time or something is wrong with it."""
    try:
        return await asyncio.wait_for(context.pool.read(read), DETAIL_SECONDS)
    except (DatabaseAway, TimeoutError):
        return None
    except Exception as error:  # a workload's own, or its settings: the health of all the others is still told
        log.warning("health_unknown", extra={"reason": redact(unforeseen(error))})
        return None


async def _found(check: BackgroundCheck) -> Finding:
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), DETAIL_SECONDS)
    except TimeoutError:  # no thread was free for it
        return Finding(check.name, False, "неизвестно")
