"""The queue for machines: list, look at, queue, cancel and retry jobs, fetch files."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

import control
import reports
from db import Database
from errors import UserError
from jobs import State
from web import models
from web.context import Authorized, Context, Open
from web.files import download
from web.security import Refused
from words import STATE_NAMES

#: Pages that a list may be asked for: behind them it costs more than it is worth.
LAST_PAGE = 1000

_WORDS = {
    400: "тело запроса не разобрать",
    401: "нужен ключ API_TOKEN",
    403: "запрос с чужой страницы",
    404: "такого задания нет",
    409: "состояние задания этого не позволяет",
    410: "файл уже удалён",
    413: "запрос слишком велик",
    416: "такого диапазона в файле нет",
    422: "запрос неверен",
    429: "слишком много неверных ключей",
    503: "база данных недоступна",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the description of a path says about its refusals."""
    return {status: {"model": models.Problem, "description": _WORDS[status]} for status in statuses}


router = APIRouter(prefix="/api/jobs", tags=["задания"])

JobId = Annotated[int, Path(ge=1, le=models.MAX_ID, description="номер задания")]
SECURED = (401, 403, 413, 422, 429, 503)


@router.get(
    "", summary="список, новые первыми", response_description="страница списка", responses=problems(403, 422, 503)
)
async def list_jobs(
    context: Open,
    state: Annotated[State | None, Query(description="только в этом состоянии")] = None,
    form: Annotated[models.Name | None, Query(description="только этой обработки")] = None,
    user: Annotated[int | None, Query(ge=0, le=models.MAX_USER, description="только этого пользователя")] = None,
    page: Annotated[int, Query(ge=1, le=LAST_PAGE, description="по 50 заданий")] = 1,
) -> models.Jobs:
    """Fifty jobs a page."""
    wanted = reports.Filter(state, form, user)
    return models.jobs(await context.pool.read(lambda cursor: reports.list_jobs(cursor, wanted, page)))


@router.post(
    "",
    status_code=201,
    summary="поставить в очередь",
    response_description="поставлено",
    responses=problems(400, *SECURED),
)
async def submit(context: Authorized, wanted: models.NewJob, response: Response) -> models.Job:
    """Queue a job; what a form would refuse is refused here, with the reason."""
    job_id = await queue(context, wanted)
    response.headers["Location"] = f"/api/jobs/{job_id}"
    return models.job((await detail(context, job_id)).job)


@router.get(
    "/{job_id}", summary="задание целиком", response_description="задание", responses=problems(403, 404, 422, 503)
)
async def show(context: Open, job_id: JobId) -> models.FullJob:
    """Everything about a job: its attempts with their reasons, its newest pages."""
    return models.full_job(await detail(context, job_id))


@router.post(
    "/{job_id}/cancel",
    summary="отменить",
    response_description="отменено или будет отменено в течение секунды",
    responses=problems(404, 409, *SECURED),
)
async def cancel_job(context: Authorized, job_id: JobId) -> models.Answer:
    """End a waiting job at once, a running one within a second."""
    return models.Answer(id=job_id, was=await cancel(context, job_id))


@router.post(
    "/{job_id}/retry",
    summary="повторить",
    response_description="снова в очереди",
    responses=problems(404, 409, *SECURED),
)
async def retry_job(context: Authorized, job_id: JobId) -> models.Answer:
    """Queue a failed or cancelled job again, with fresh attempts."""
    return models.Answer(id=job_id, was=await retry(context, job_id))


@router.get(
    "/{job_id}/file",
    summary="готовый файл",
    response_class=FileResponse,
    responses={
        200: {"description": "файл целиком", "content": {"application/octet-stream": {}}},
        206: {"description": "диапазон", "content": {"application/octet-stream": {}}},
        **problems(401, 403, 404, 409, 410, 416, 422, 429, 503),
    },
)
async def file(context: Authorized, job_id: JobId, request: Request) -> Response:
    """The finished file; takes `Range` and `If-Range`."""
    return await send_file(context, job_id, request)


# --- what the page does, too ------------------------------------------------------------------------------------------


async def detail(context: Context, job_id: int) -> reports.JobDetail:
    """Return everything about a job; raise Refused where there is no such job."""
    found = await context.pool.read(lambda cursor: reports.show(cursor, job_id, pages=200))
    if found is None:
        raise Refused(404, _WORDS[404])
    return found


async def queue(context: Context, wanted: models.NewJob) -> int:
    """Queue a job and return its id; raise UserError where it cannot be one."""
    try:
        json.dumps(wanted.conditions, allow_nan=False)
    except (ValueError, RecursionError):
        raise UserError("conditions: NaN, бесконечность и вложенность без конца недопустимы") from None

    def work(database: Database) -> int:
        return control.submit(
            database,
            wanted.form,
            wanted.conditions,
            user_id=wanted.user_id,
            file_name=wanted.file_name,
            priority=wanted.priority,
        )

    job_id = await context.pool.run(work)
    context.dashboard.forget()
    return job_id


async def cancel(context: Context, job_id: int) -> State:
    """Cancel a job and return in which state it was; raise Refused where that cannot be."""
    was = await context.pool.run(lambda database: control.cancel(database, context.settings, job_id))
    context.dashboard.forget()
    if was is None:
        state = (await detail(context, job_id)).job.state
        raise Refused(409, f"отменить можно задание, которое ждёт или выполняется, а это — {STATE_NAMES[state]}")
    return was


async def retry(context: Context, job_id: int) -> State:
    """Queue a job again and return in which state it was; raise Refused where that cannot be."""
    was = (await detail(context, job_id)).job.state
    queued = await context.pool.run(lambda database: control.retry(database, job_id))
    context.dashboard.forget()
    if not queued:
        reason = "повторить можно задание с ошибкой или отменённое, если его строку не взяли снова"
        raise Refused(409, f"{reason}; это — {STATE_NAMES[was]}")
    return was


async def retry_all(context: Context) -> list[int]:
    """Queue every failed job again and return which."""
    queued = await context.pool.run(control.retry)
    context.dashboard.forget()
    return queued


async def send_file(context: Context, job_id: int, request: Request) -> Response:
    """Return the answer with the file of a job; raise Refused where there is none."""
    opened = download(context.settings, (await detail(context, job_id)).job, request)
    return await run_in_threadpool(opened) if context.settings.files_url else opened()
