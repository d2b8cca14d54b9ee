"""The calls of Bitrix24, the error queue and the page."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from db import Cursor, Database
from integrations.deals import book, broker
from integrations.deals.steps import FORM
from web import pages
from web.api import problems
from web.context import Authorized, Context, Open

#: Seconds after which an answer tells what is left, and between two looks.
ANSWER_SECONDS, LOOK_SECONDS = 25.0, 0.25
PROBLEMS = problems(401, 403, 422, 429, 503)

router = APIRouter(tags=["сделки"])
Id = Annotated[int, Query(ge=1, le=2**63 - 1)]
Token = Annotated[str, Form()]
T = TypeVar("T")


class Retried(BaseModel):
    """What became of the error queue."""

    error_tasks_remaining: int
    successful_tasks: int
    message: str


@router.post("/CarexRandom", summary="пришла сделка", responses=PROBLEMS)
@router.post("/CompanyRandom", summary="пришла сделка", responses=PROBLEMS)
async def arrived(context: Authorized, deal_id: Id, cont_id: Id) -> str:
    """Queue a deal, once."""
    await _run(context, lambda cursor: book.queue(cursor, deal_id, cont_id))
    return f"processing_task: {FORM}"


async def _run(context: Context, work: Callable[[Cursor], T]) -> T:
    """Run `work` as one transaction, and count where the database does not let it."""

    def counted(database: Database) -> T:
        broker.flush(database)
        with database.transaction() as cursor:
            return work(cursor)

    with broker.noting():
        return await context.pool.run(counted)


@router.get("/retry-errors", summary="повторить неудавшиеся сделки", responses=PROBLEMS)
async def retry_errors_by_get(context: Authorized, request: Request) -> Retried:
    """The same as the POST, for those who call it so; a link on a foreign page is refused."""
    context.guard.check_origin(request)
    return await retry_errors(context)


@router.post("/retry-errors", summary="повторить неудавшиеся сделки", responses=PROBLEMS)
async def retry_errors(context: Authorized) -> Retried:
    """Queue every failed deal again, and wait for them."""
    until = time.monotonic() + ANSWER_SECONDS
    queued = await _retry(context)
    if not queued:
        return Retried(error_tasks_remaining=0, successful_tasks=0, message="No tasks in error queue")
    while True:
        with broker.noting():
            states = await context.pool.read(lambda cursor: book.standing(cursor, queued))
        left = until - time.monotonic()
        if not states.get("waiting") or left <= 0:
            break
        await asyncio.sleep(min(LOOK_SECONDS, left))
    done = states.get("done", 0)
    return Retried(
        error_tasks_remaining=len(queued) - done,
        successful_tasks=done,
        message=f"Processed {done} tasks from error queue",
    )


async def _retry(context: Context, deal_id: int | None = None) -> list[int]:
    """Queue a failed deal again, or every one: some at a time, and each once, also where it fails again meanwhile."""
    seen = await _run(context, lambda cursor: book.failed(cursor, deal_id))
    queued: list[int] = []
    for start in range(0, len(seen), book.RETRIES):
        some = seen[start : start + book.RETRIES]
        queued += await _run(context, lambda cursor, some=some: book.retry(cursor, some))  # type: ignore[misc]
    return queued


@router.get("/deals", include_in_schema=False)
async def page(context: Open, request: Request) -> HTMLResponse:
    """Managers, the error queue, who got what."""

    def work(cursor: Cursor) -> dict[str, Any]:
        return {
            "managers": book.managers(cursor),
            "failures": book.failures(cursor),
            "assignments": book.assignments(cursor),
            "count": book.count(cursor),
        }

    return pages.answer(context, request, "deals.html", **await context.pool.read(work))


@router.post("/deals/retry", include_in_schema=False)
async def retry_all(context: Authorized, request: Request, token: Token = "") -> Response:
    """Queue every failed deal again."""
    context.guard.check_form(request, token)
    await _retry(context)
    return RedirectResponse("/deals", 303)


@router.post("/deals/{deal_id}/retry", include_in_schema=False)
async def retry_one(
    context: Authorized, request: Request, deal_id: Annotated[int, Path(ge=1, le=2**63 - 1)], token: Token = ""
) -> Response:
    """Queue one failed deal again."""
    context.guard.check_form(request, token)
    await _retry(context, deal_id)
    return RedirectResponse("/deals", 303)
