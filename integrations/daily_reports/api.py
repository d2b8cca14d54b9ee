"""Reports for machines: have days made, look at them, fetch them as a file."""

import asyncio
from datetime import date
from math import ceil
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

import queueing
from db import Database
from errors import UserError
from integrations.daily_reports import NAME, ReportSettings, days, files, table
from jobs import State
from reports import JobDetail
from settings import load_part
from storage import CONTENT_TYPES
from web.api import SECURED, JobId, detail, problems
from web.context import Authorized, Context, Open
from web.files import disposition
from web.models import reason
from web.security import Refused
from words import STATE_NAMES

#: Seconds that queueing a job may take: an answer comes within five, whatever the database does.
WRITE_SECONDS = 3.0
#: Rows on a page, and pages, that may be asked for.
LARGEST_PAGE = 1000
LAST_PAGE = 1_000_000

router = APIRouter(prefix="/report", tags=["отчёты"])


def _day(value: Any) -> Any:
    try:
        return days.read(value) if isinstance(value, str) else value
    except ValueError as error:
        raise PydanticCustomError("day", "{reason}", {"reason": str(error)}) from None


Day = Annotated[
    date,
    BeforeValidator(_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
ReportDate = Annotated[Day, Query(description="день отчёта", examples=["2024-01-15"])]


class Row(BaseModel):
    """How many products an order of a day had."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    report_at: date
    order_id: int
    count_product: int


class Pagination(BaseModel):
    """Where a page stands among all rows."""

    page: int
    count: int = Field(description="строк на странице")
    total: int = Field(description="строк всего")
    pages: int = Field(description="страниц всего")


class Page(BaseModel):
    """A page of the reports of all days, the newest first."""

    reports: list[Row]
    pagination: Pagination


class Scheduled(BaseModel):
    """A day whose report will be made."""

    status: Literal["scheduled"] = "scheduled"
    message: str
    task_id: str
    date: date


class ScheduledPeriod(BaseModel):
    """Days whose reports will be made, one after the other."""

    status: Literal["scheduled"] = "scheduled"
    message: str
    task_id: str
    start: date = Field(serialization_alias="from")
    finish: date = Field(serialization_alias="to")
    days: int


class TaskStatus(BaseModel):
    """How far the making of reports is."""

    task_id: str
    status: Literal["scheduled", "running", "done", "failed", "cancelled"]
    message: str
    start: date | None = Field(serialization_alias="from", description="первый день")
    finish: date | None = Field(serialization_alias="to", description="последний день")
    done: int = Field(description="дней готово")
    total: int | None = Field(description="дней всего")
    error: str | None = Field(description="почему не вышло")


@router.post(
    "/generate",
    status_code=202,
    summary="сделать отчёт за день или за каждый день от from до to",
    response_description="поставлено в очередь",
    responses=problems(*SECURED),
)
async def generate(
    context: Authorized,
    report_date: Annotated[Day | None, Query(description="день", examples=["2024-01-15"])] = None,
    start: Annotated[Day | None, Query(alias="from", description="первый день", examples=["2024-01-01"])] = None,
    finish: Annotated[Day | None, Query(alias="to", description="последний день", examples=["2024-01-31"])] = None,
) -> Scheduled | ScheduledPeriod:
    """Queue a job that makes the report of one day, or of each day of a period; earlier ones are replaced."""
    wanted = _wanted(report_date, start, finish)
    task_id = str(await queue(context, wanted))
    if report_date is not None:
        message = f"Генерация отчета за {wanted} запланирована"
        return Scheduled(message=message, task_id=task_id, date=report_date)
    return ScheduledPeriod(
        message=f"Генерация отчетов за {wanted} запланирована",
        task_id=task_id,
        start=wanted.start_date,
        finish=wanted.finish_date,
        days=wanted.count,
    )


def _wanted(report_date: date | None, start: date | None, finish: date | None) -> days.Days:
    """Return the days that a request names in one of the two ways."""
    if report_date is not None:
        if start is not None or finish is not None:
            raise Refused(422, "query.report_date: вместе с from и to не указывают")
        return days.Days(report_date, report_date)
    if start is None and finish is None:
        raise Refused(422, "query.report_date: не указан день отчёта")
    if start is None or finish is None:
        missing = "from" if start is None else "to"
        raise Refused(422, f"query.{missing}: нужны оба дня, from и to")
    try:
        return days.Days(start, finish)
    except UserError as error:
        text = str(error).replace("start_date", "from").replace("finish_date", "to")
        raise Refused(422, f"query.{text}") from None


@router.get("/", summary="отчёт за день", response_description="строки отчёта", responses=problems(403, 422, 503))
async def show(context: Open, report_date: ReportDate) -> list[Row]:
    """All rows of a day by order; none where the day has no report."""
    found = await context.pool.read(lambda cursor: table.of_day(cursor, report_date))
    return [Row.model_validate(row) for row in found]


@router.get("/all", summary="отчёты за все дни", response_description="страница", responses=problems(403, 422, 503))
async def show_all(
    context: Open,
    page: Annotated[int, Query(ge=1, le=LAST_PAGE, description="какая страница")] = 1,
    count: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="строк на странице")] = 10,
) -> Page:
    """A page of the rows of all days, the newest day first; an empty one behind the last."""
    found, total = await context.pool.read(lambda cursor: table.of_all(cursor, count, page))
    return Page(
        reports=[Row.model_validate(row) for row in found],
        pagination=Pagination(page=page, count=count, total=total, pages=ceil(total / count)),
    )


@router.get(
    "/status/{task_id}",
    summary="как идёт генерация",
    response_description="состояние",
    responses=problems(403, 404, 422, 503),
)
async def status(context: Open, task_id: JobId) -> TaskStatus:
    """How far a generation is that was asked for, or began by itself."""
    found = await detail(context, task_id)
    if found.job.form != NAME:
        raise Refused(404, "такого задания нет")
    return _status(found)


_STATUSES: dict[State, Literal["scheduled", "running", "done", "failed", "cancelled"]] = {
    "waiting": "scheduled",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


def _status(found: JobDetail) -> TaskStatus:
    job, wanted = found.job, asked(found.params)
    return TaskStatus(
        task_id=str(job.id),
        status=_STATUSES[job.state],
        message=f"Генерация {title(wanted)}: {STATE_NAMES[job.state]}",
        start=wanted.start_date if wanted else None,
        finish=wanted.finish_date if wanted else None,
        done=job.rows,
        total=wanted.count if wanted else None,
        error=reason(job.error),
    )


@router.get(
    "/download",
    summary="отчёт за день файлом",
    response_class=Response,
    responses={
        200: {"description": "файл", "content": {kind.partition(";")[0]: {} for kind in CONTENT_TYPES.values()}},
        **problems(401, 403, 422, 429, 503),
    },
)
async def download(
    context: Authorized,
    report_date: ReportDate,
    format_: Annotated[files.Format, Query(alias="format", description="формат файла")] = "csv",
) -> Response:
    """The rows of a day as a file; only the names of the columns where the day has no report."""
    found = await context.pool.read(lambda cursor: table.of_day(cursor, report_date))
    content = await asyncio.to_thread(files.content, context.settings, found, format_)
    headers = {
        "Content-Disposition": disposition(f"report_{report_date}.{format_}"),
        "Cache-Control": "private, no-cache",
    }
    return Response(content, media_type=CONTENT_TYPES[f".{format_}"], headers=headers)


# --- what the page does, too ------------------------------------------------------------------------------------------


async def queue(context: Context, wanted: days.Days) -> int:
    """Queue the job that makes these days and return its id."""
    params = {"start_date": str(wanted.start_date), "finish_date": str(wanted.finish_date)}

    def work(database: Database) -> int:
        with database.transaction(WRITE_SECONDS) as cursor:
            return queueing.submit(cursor, NAME, params)

    job_id = await context.pool.run(work)
    context.dashboard.forget()
    return job_id


def asked(params: str | None) -> days.Days | None:
    """Return the days of a job as it was queued, None where it was refused because it names none."""
    try:
        return days.asked(params, load_part(ReportSettings).report_timezone)
    except UserError:
        return None


def title(wanted: days.Days | None) -> str:
    """Return what a job makes, in words."""
    if wanted is None:
        return "отчета"
    return f"{'отчета' if wanted.count == 1 else 'отчетов'} за {wanted}"
