"""What a worker does, statement by statement: it lives, takes in, claims, records, settles, and dies."""

from __future__ import annotations

import uuid

import pytest

import jobs
import leases
import progress
from db import Database
from inbox import Inbox
from jobs import Fence, Settlement
from leases import Worker
from progress import PageRecord, Progress
from tests.database import TABLE, Queries

#: Attempts that a job has.
MAX = 5
DONE = Settlement("done", "done")
POSITION = {"key": 1}


def new_worker(own: Database, lease: float = 15) -> str:
    """The id of a worker that lives."""
    return other(own, lease=lease).id


@pytest.fixture
def worker(own: Database) -> str:
    """The id of the test's own worker."""
    return new_worker(own)


def take_in(own: Database) -> None:
    """Make jobs of the new rows of `post`; all but those of the form `free` read the small warehouse."""
    Inbox(lambda request: TABLE if request.form != "free" else None).take_in(own)


def claim(own: Database, worker: str, slot: int = 0) -> jobs.Job | None:
    with own.statement() as cursor:
        return jobs.claim(cursor, worker, slot)


def certain(own: Database, worker: str) -> jobs.Job:
    """Claim where there must be a job."""
    job = claim(own, worker)
    assert job is not None
    return job


def settle(own: Database, job: jobs.Job, end: Settlement = DONE) -> None:
    with own.transaction() as cursor:
        jobs.settle(cursor, job.fence, job.dwh_table, end)


def record(own: Database, fence: Fence, rows: int = 5, total: int = 10) -> None:
    """Record a first page."""
    page = PageRecord(1, rows, 100, {"fetch": 0.5})
    with own.statement() as cursor:
        progress.record(cursor, fence, Progress(rows, total, 100, POSITION, page))


@pytest.fixture
def me(own: Database) -> Worker:
    """The daemon that looks after the others."""
    worker = Worker.this_process(15)
    renew(own, worker)
    return worker


def renew(own: Database, worker: Worker) -> None:
    with own.statement() as cursor:
        worker.renew(cursor)


def other(own: Database, host: str = "elsewhere", process: str = "1:1", lease: float = 15) -> Worker:
    worker = Worker(str(uuid.uuid4()), host, process, lease)
    renew(own, worker)
    return worker


def give_job(own: Database, sql: Queries, worker: Worker, rows: int = 0) -> jobs.Job:
    """Let a worker run a job and have `rows` rows in its file."""
    sql.post(f"{uuid.uuid4()}.csv")
    take_in(own)
    job = certain(own, worker.id)
    if rows:
        with own.statement() as cursor:
            progress.record(cursor, job.fence, Progress(rows, 100, 1000, {"key": rows}))
    return job


def expire(sql: Queries, worker: Worker, seconds: float = 16) -> None:
    sql("UPDATE tksva_q.worker SET seen_at = seen_at - %s * interval '1 second' WHERE id = %s", seconds, worker.id)


def rescued(own: Database, me: Worker, max_attempts: int = MAX) -> list[int]:
    return [job.id for job in leases.rescue(own, me, max_attempts)]


def workers(sql: Queries) -> set[str]:
    return {row[0] for row in sql("SELECT id::text FROM tksva_q.worker")}
