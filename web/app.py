"""The application: its parts put together, and what every request goes through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import workloads
from db import DatabaseAway
from errors import QueueError
from logs import log, redact
from settings import Settings
from web import api, background, events, health, links, pages
from web.announcements import Announcer
from web.context import Context
from web.dashboard import Dashboard
from web.database import Address, Pool
from web.estimates import Estimates
from web.middleware import Around
from web.monitor import Monitor
from web.security import HEADERS, Guard, Refused, signing_key


def create_app(settings: Settings) -> FastAPI:
    """Return the application of an installation.

    Raises:
        StorageError: the key for signatures cannot be kept in VAR_DIR.
    """
    enabled = workloads.load(settings.integrations)
    pages.templates.globals["workloads"] = [workload for workload in enabled if workload.title]
    address = Address(settings)
    monitor = Monitor(address)
    key = signing_key(settings)
    guard = Guard(settings, key)
    announcer = Announcer(settings, address, key, lambda job_id: links.link(settings, guard, job_id))
    context = Context(
        settings,
        Pool(address, monitor.away),
        monitor,
        guard,
        background.BackgroundCheck("хранилище", lambda: background.warehouse_check(settings)),
        background.BackgroundCheck("диск", lambda: background.disk_check(settings)),
        Dashboard(lambda: pages.draw(context), lambda: monitor.look and monitor.look.version),
        Estimates(settings),
        enabled,
        background.BackgroundCheck("брокер", lambda: background.broker_check(settings))
        if settings.broker_url
        else None,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await monitor.start()
        announcer.start()
        log.info("web_started", extra={"database": monitor.away() or "answers"})
        yield
        announcer.stop()
        monitor.stop()
        context.pool.close()

    app = FastAPI(
        title="tksva_q",
        summary="Очередь заданий на выгрузку из хранилища",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.context = context
    for part in (api, events, health, links, pages):
        app.include_router(part.router)
    for workload in enabled:
        if workload.offers("routes"):
            app.include_router(workload.part("routes"))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    _handle_errors(app)
    app.add_middleware(Around, guard=guard, refuse=_refusal)
    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return _refusal(request, error.status, error.text, error.headers)

    @app.exception_handler(DatabaseAway)
    async def away(request: Request, error: DatabaseAway) -> Response:
        return _refusal(request, 503, f"база данных недоступна: {error}", {"Retry-After": "2"})

    @app.exception_handler(QueueError)
    async def wrong(request: Request, error: QueueError) -> Response:
        return _refusal(request, 422, str(error), {})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Without what was given: it may be anything, half a character too.
        parts = [f"{'.'.join(str(place) for place in one['loc'])}: {one['msg']}" for one in error.errors()]
        return _refusal(request, 422, "; ".join(parts), {})

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        text = {404: "такой страницы нет", 405: "так обратиться нельзя"}.get(error.status_code, str(error.detail))
        return _refusal(request, error.status_code, text, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        if isinstance(error, asyncio.CancelledError):
            raise error
        response = _refusal(request, 500, "ошибка на нашей стороне, подробности — в журнале", {})
        response.headers.update(HEADERS)
        return response


def _refusal(request: Request, status: int, text: str, headers: dict[str, str]) -> Response:
    """Return why a request is not answered: a page for a person, JSON for a machine."""
    text = redact(text).encode(errors="replace").decode()
    headers = {"Cache-Control": "no-store"} | headers
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": text}, status, headers)
    page = pages.render("message.html", status=status, text=text, path=request.url.path)
    return HTMLResponse(page, status, headers)
