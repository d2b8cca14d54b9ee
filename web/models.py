"""What the API takes and gives, as `GET /docs` describes it."""

import datetime
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs import State
from logs import redact
from reports import Attempt, ExportPage, JobDetail, JobPage, JobRow

#: The greatest numbers that the columns hold.
MAX_ID = 2**63 - 1
MAX_USER = 2**31 - 1
#: Brackets in conditions up to which they are surely not nested too deep for the serializer.
DEEPEST = 200

#: Without the one character that PostgreSQL cannot store.
Name = Annotated[str, StringConstraints(min_length=1, max_length=140, pattern=r"^[^\x00]*$")]


class NewJob(BaseModel):
    """A job to be queued."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "form": "DownloadForStationForm",
                    "user_id": 1,
                    "file_name": "Ворсино.csv",
                    "conditions": {
                        "station_name": "Ворсино",
                        "start_date": "2024-01-01",
                        "finish_date": "2024-12-31",
                    },
                }
            ]
        },
    )

    form: Name = Field(description="название обработки")
    conditions: dict[str, Any] = Field(description="её условия")
    user_id: int | None = Field(default=None, ge=1, le=MAX_USER, description="чей файл")
    file_name: Name | None = Field(default=None, description="имя файла с расширением .csv или .xlsx")
    priority: int = Field(default=5, ge=0, le=100, description="большее — раньше")


class Job(BaseModel):
    """A job."""

    id: int
    post_id: int | None = Field(description="строка веб-интерфейса")
    user_id: int | None
    form: str | None
    file_name: str | None
    state: State
    rows: int = Field(description="строк в файле")
    total: int | None = Field(description="строк всего")
    bytes: int
    share: float = Field(description="сделанная доля, от 0 до 1")
    attempt: int
    error: str | None = Field(description="почему не вышло")
    cancel: bool = Field(description="просили остановить")
    priority: int
    queued_at: datetime.datetime
    run_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    purged_at: datetime.datetime | None = Field(description="когда файл удалён")
    file: str | None = Field(description="где взять файл")


class JobAttempt(BaseModel):
    """An attempt of a job."""

    number: int
    host: str | None
    slot: int | None
    started_at: datetime.datetime
    finished_at: datetime.datetime | None
    outcome: Literal["done", "failed", "retry", "given back", "cancelled"] | None
    reason: str | None
    rows_before: int
    rows_after: int | None


class Page(BaseModel):
    """A page of the warehouse, as it went into the file."""

    attempt: int
    number: int
    rows: int
    bytes: int
    seconds: dict[str, float]
    finished_at: datetime.datetime


class FullJob(Job):
    """A job with its conditions, attempts and newest pages."""

    conditions: Any
    table: str | None = Field(description="таблица хранилища")
    attempts: list[JobAttempt]
    pages: list[Page]


class Jobs(BaseModel):
    """A page of the list of jobs, the newest first."""

    jobs: list[Job]
    page: int
    more: bool = Field(description="есть следующая страница")


class Answer(BaseModel):
    """What an action did."""

    id: int
    was: State | None = Field(default=None, description="состояние до того")


class Problem(BaseModel):
    """Why a request was not fulfilled."""

    detail: str


def reason(text: str | None) -> str | None:
    """Return a reason as it may be shown."""
    return None if text is None else redact(text)


def has_file(job: JobRow) -> bool:
    """Tell whether the file of a job can be downloaded."""
    return job.state == "done" and job.purged_at is None and job.file_name is not None and job.user_id is not None


def job(row: JobRow) -> Job:
    """Return a job as the API gives it."""
    return Job(**_job_fields(row))


def full_job(detail: JobDetail) -> FullJob:
    """Return a job with everything about it."""
    return FullJob(
        **_job_fields(detail.job),
        conditions=_json(detail.params),
        table=detail.table,
        attempts=[_attempt(one) for one in detail.attempts],
        pages=[_page(one) for one in detail.pages],
    )


def jobs(page: JobPage) -> Jobs:
    """Return a page of a list."""
    return Jobs(jobs=[job(row) for row in page.jobs], page=page.page, more=page.more)


def _job_fields(row: JobRow) -> dict[str, Any]:
    file = f"/api/jobs/{row.id}/file" if has_file(row) else None
    queued_at = row.queued_at.astimezone()  # kept without a zone: the one of this machine
    return vars(row) | {"share": row.share, "error": reason(row.error), "file": file, "queued_at": queued_at}


def _attempt(one: Attempt) -> JobAttempt:
    return JobAttempt(**vars(one) | {"reason": reason(one.reason)})


def _page(one: ExportPage) -> Page:
    return Page(**vars(one))


def _json(text: str | None) -> Any:
    """Return conditions as what they are, or as their text where they cannot be written again as they stand."""
    if text is None or text.count("[") + text.count("{") > DEEPEST:
        return text
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return text
    return value
