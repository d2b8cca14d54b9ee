"""Exports of the small warehouse, run as a child runs them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import jobs
import leases
import queueing
from db import Database
from dwh import During, Equals, Extract, open_warehouse
from exports import export
from settings import Settings
from tasks import Task
from tests.daemons import make_settings
from tests.database import TABLE

EXTRACT = Extract(
    TABLE,
    (Equals("Ст. Отправления", "Тайшет"), During("SVOD.Дата отправки", date(2024, 1, 1), date(2024, 12, 31))),
)
PAGE = 300


class Bench:
    """Runs exports as a child does, in this process: claim, export, look."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self.conninfo = conninfo
        self.folder = folder
        self.settings = make_settings(conninfo, folder, chunk_size=PAGE)
        self.database = Database(conninfo, "test")
        self.warehouse = open_warehouse(self.settings)
        self.worker = str(uuid.uuid4())
        with self.database.statement() as cursor:
            leases.Worker(self.worker, "here", "1:1", 60).renew(cursor)

    def submit(self, name: str, user: int = 1) -> int:
        with self.database.transaction() as cursor:
            return queueing.submit(cursor, "test", {}, user_id=user, file_name=name, dwh_table=TABLE)

    def claim(self) -> jobs.Job:
        with self.database.statement() as cursor:
            job = jobs.claim(cursor, self.worker, 0)
        assert job is not None
        return job

    def task(self, job: jobs.Job, pages: int | None = None, settings: Settings | None = None) -> Task:
        """A task that is asked to stop after `pages` pages."""
        left = iter([False] * pages + [True] if pages is not None else [])
        return Task(
            job,
            settings or self.settings,
            self.database,
            lambda: self.warehouse,
            lambda: next(left, False),
        )

    def give_back(self, job: jobs.Job) -> None:
        with self.database.transaction() as cursor:
            jobs.settle(cursor, job.fence, TABLE, jobs.Settlement("waiting", "given back", None, refund=True))

    def finish(self, job: jobs.Job) -> None:
        with self.database.transaction() as cursor:
            jobs.settle(cursor, job.fence, TABLE, jobs.Settlement("done", "done"))

    def whole(self, name: str, extract: Extract = EXTRACT) -> bytes:
        """An undisturbed export's bytes."""
        self.submit(name)
        job = self.claim()
        export(self.task(job), extract)
        self.finish(job)
        content = self.file(name).read_bytes()
        self.file(name).unlink()
        return content

    def file(self, name: str, user: int = 1) -> Path:
        return self.settings.files_dir / str(user) / name

    def left_over(self) -> list[str]:
        return sorted(path.name for path in self.settings.files_dir.glob("*/.*"))


@pytest.fixture
def bench(database: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(database, tmp_path)
    yield made
    made.warehouse.close()
    made.database.close()
