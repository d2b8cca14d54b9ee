"""What a worker does to a job, statement by statement: take in, claim, record, settle."""

from __future__ import annotations

import uuid

import pytest

import jobs
import leases
import progress
from db import Database
from inbox import Inbox
from jobs import Fence, Settlement
from progress import PageRecord, Progress
from tests.conftest import TABLE

DONE = Settlement("done", "done")
POSITION = {"key": 1}


def new_worker(own: Database, lease: float = 15) -> str:
    """The id of a worker that lives."""
    me = leases.Worker(str(uuid.uuid4()), "elsewhere", "1:1", lease)
    with own.statement() as cursor:
        me.renew(cursor)
    return me.id


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
