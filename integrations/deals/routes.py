"""The calls of Bitrix24, the error queue and the page."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from db import Cursor, Database
from integrations.deals import book
from web import pages
from web.api import problems
from web.context import Authorized, Context, Open

#: Seconds after which an answer tells what is left, and between two looks.
ANSWER_SECONDS, LOOK_SECONDS = 25.0, 0.25
PROBLEMS = problems(401, 403, 422, 429, 503)

router = APIRouter(tags=["сделки"])
Id = Annotated[int, Query(ge=1, le=2**63 - 1)]
Token = Annotated[str, Form()]


class Retried(BaseModel):
    """What became of the error queue."""

    error_tasks_remaining: int
    successful_tasks: int
    message: str


@router.post("/CarexRandom", summary="пришла сделка", responses=PROBLEMS)
@router.post("/CompanyRandom", summary="пришла сделка", responses=PROBLEMS)
async def arrived(context: Authorized, deal_id: Id, cont_id: Id) -> str:
    """Queue a deal, once."""

    def work(database: Database) -> None:
        with database.transaction() as cursor:
            book.queue(cursor, deal_id, cont_id)

    await context.pool.run(work)
    return f"processing_task: {book.FORM}"


@router.get("/retry-errors", summary="повторить неудавшиеся сделки", responses=PROBLEMS)
@router.post("/retry-errors", summary="повторить неудавшиеся сделки", responses=PROBLEMS)
async def retry_errors(context: Authorized) -> Retried:
    """Queue every failed deal again, and wait for them."""
    until = time.monotonic() + ANSWER_SECONDS
    queued = await _retry(context)
    if not queued:
        return Retried(error_tasks_remaining=0, successful_tasks=0, message="No tasks in error queue")
    while True:
        states = await context.pool.read(lambda cursor: book.standing(cursor, queued))
        if not states.get("waiting") or time.monotonic() > until:
            break
        await asyncio.sleep(LOOK_SECONDS)
    done = states.get("done", 0)
    return Retried(
        error_tasks_remaining=len(queued) - done,
        successful_tasks=done,
        message=f"Processed {done} tasks from error queue",
    )


async def _retry(context: Context, deal_id: int | None = None) -> list[int]:
    def work(database: Database) -> list[int]:
        with database.transaction() as cursor:
            return book.retry(cursor, deal_id)

    return await context.pool.run(work)


@router.get("/deals", include_in_schema=False)
async def page(context: Open, request: Request) -> HTMLResponse:
    """Managers, the error queue, who got what."""

    def work(cursor: Cursor) -> tuple[list[book.Manager], list[tuple[object, ...]], list[tuple[object, ...]]]:
        return book.managers(cursor), book.failures(cursor), book.assignments(cursor)

    managers, failures, assignments = await context.pool.read(work)
    return pages.answer(context, request, "deals.html", managers=managers, failures=failures, assignments=assignments)


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
