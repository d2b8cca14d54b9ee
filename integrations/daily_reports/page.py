"""The reports for people: choose a day, see its rows, have it made, take it along as a file."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

import reports
from db import Cursor
from errors import UserError
from integrations.daily_reports import NAME, ReportSettings, days, table
from integrations.daily_reports.api import LAST_PAGE, Day, queue
from settings import load_part
from web import pages
from web.context import Authorized, Context, Open

#: Rows of a day, and newest jobs, that the page shows.
ROWS = 100
JOBS = 5

router = APIRouter(prefix="/daily_reports", include_in_schema=False)


@router.get("")
async def show(
    context: Open,
    request: Request,
    report_date: Day | None = None,
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
) -> HTMLResponse:
    """A day's report: the last day that is over, where none is chosen."""
    return await _show(context, request, report_date, page)


@router.post("")
async def generate(
    context: Authorized,
    request: Request,
    start_date: pages.Text = "",
    finish_date: pages.Text = "",
    token: pages.Text = "",
) -> Response:
    """Queue the days of the form."""
    context.guard.check_form(request, token)
    try:
        wanted = days.Days(_read("С", start_date), _read("По", finish_date))
    except UserError as error:
        text = str(error).replace("start_date", "С").replace("finish_date", "По")
        return await _show(context, request, problem=text)
    await queue(context, wanted)
    return RedirectResponse(f"/daily_reports?report_date={wanted.start_date}", 303)


def _read(field: str, text: str) -> date:
    try:
        return days.read(text)
    except ValueError as error:
        raise UserError(f"{field}: {error}") from None


async def _show(
    context: Context, request: Request, chosen: date | None = None, page: int = 1, problem: str | None = None
) -> HTMLResponse:
    zone = load_part(ReportSettings).report_timezone
    day = chosen or days.yesterday(zone)

    def look(cursor: Cursor) -> tuple[list[table.Row], table.Totals, reports.JobPage]:
        wanted = reports.Filter(form=NAME)
        return table.of_day(cursor, day, ROWS, page), table.totals(cursor, day), reports.list_jobs(cursor, wanted, 1)

    rows, totals, found = await context.pool.read(look)
    return pages.answer(
        context,
        request,
        "daily_reports.html",
        status=422 if problem else 200,
        problem=problem,
        day=day,
        zone=zone,
        rows=rows,
        totals=totals,
        page=page,
        more=page * ROWS < totals.orders,
        jobs=found.jobs[:JOBS],
    )
