"""Records as `jobs` and `reports` would read them: only what a test is about need be said."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs import Job
from reports import Attempt, ExportPage, JobDetail, JobRow, Status, WorkerRow

#: When everything began.
BEGAN = datetime(2024, 1, 31, 12, 0, tzinfo=UTC)


def job_row(**changed: Any) -> JobRow:
    """A job that is half done."""
    usual = JobRow(
        id=7,
        post_id=70,
        user_id=1,
        form="DownloadForStationForm",
        file_name="отчёт.csv",
        state="running",
        rows=500,
        total=1000,
        bytes=2048,
        attempt=1,
        spent=1,
        cancel=False,
        error=None,
        priority=5,
        queued_at=BEGAN.replace(tzinfo=None),
        run_at=BEGAN,
        started_at=BEGAN,
        finished_at=None,
        purged_at=None,
    )
    return dataclasses.replace(usual, **changed)


def attempt(**changed: Any) -> Attempt:
    """The first attempt, which still goes on."""
    return dataclasses.replace(Attempt(1, "узел", 0, BEGAN, None, None, None, 0, None), **changed)


def export_page(number: int, rows: int = 100, took: float = 1.0, steps: dict[str, float] | None = None) -> ExportPage:
    """A page that took so long."""
    return ExportPage(1, number, rows, rows * 10, steps or {"fetch": took / 2, "page": took}, BEGAN)


def detail(job: JobRow | None = None, **changed: Any) -> JobDetail:
    """All about a job that has not begun."""
    return dataclasses.replace(JobDetail(job or job_row(), None, None, (), (), 0, {}), **changed)


def worker_row(**changed: Any) -> WorkerRow:
    """A queue manager that lives."""
    return dataclasses.replace(WorkerRow("w", "узел", 41, alive=True, loop_seconds=0.4, running=1), **changed)


def status(**changed: Any) -> Status:
    """A queue with nothing in it."""
    usual = Status(0, 0, 0, None, (), 0, 0.4, (worker_row(),), ())
    return dataclasses.replace(usual, **changed)


def later(seconds: float) -> datetime:
    """So long after everything began."""
    return BEGAN + timedelta(seconds=seconds)


def claimed(**changed: Any) -> Job:
    """A job as its worker has just claimed it for the first time."""
    usual = Job(
        id=7,
        attempt=1,
        worker="w",
        slot=0,
        spent=1,
        form="F",
        params="{}",
        post_id=1,
        user_id=1,
        file_name="a.csv",
        dwh_table=None,
        table_version=None,
        cursor=None,
        rows=0,
        total=None,
        chunk_size=None,
        cancel=False,
        rows_at_claim=0,
    )
    return dataclasses.replace(usual, **changed)
