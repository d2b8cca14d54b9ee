"""The child's side, in this process: what it tells its parent, and what it leaves alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import child
import jobs
import leases
import queueing
from db import Database
from errors import UserError
from processings import REGISTER, Processing
from tasks import Task
from tests.conftest import Queries, make_settings


class Parent:
    """The other end of a child that runs in a thread."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self.database = Database(conninfo, "test")
        self.worker = str(uuid.uuid4())
        with self.database.statement() as cursor:
            leases.Worker(self.worker, "here", "1:1", 600).renew(cursor)
        self.channel, theirs = multiprocessing.Pipe()
        self.child = child._Child(theirs, 0, self.worker, make_settings(conninfo, folder, max_attempts=2), conninfo)
        self.thread = threading.Thread(target=self._serve, args=(theirs,))
        self.thread.start()

    def _serve(self, channel: Connection) -> None:
        self.child.serve()
        self.child.database.close()
        channel.close()

    def submit(self, form: str, **columns: object) -> int:
        with self.database.transaction() as cursor:
            return queueing.submit(cursor, form, {}, **columns)  # type: ignore[arg-type]

    def give(self) -> None:
        with self.database.statement() as cursor:
            job = jobs.claim(cursor, self.worker, 0)
        assert job is not None
        self.channel.send(child.Run(job))

    def hear(self) -> object:
        assert self.channel.poll(10)
        return self.channel.recv()

    def until_idle(self) -> tuple[list[int], child.Idle]:
        """The ids of the jobs that were started, and the word that nothing runs any more."""
        started = []
        while True:
            message = self.hear()
            if isinstance(message, child.Idle):
                return started, message
            assert isinstance(message, child.Started)
            started.append(message.job.id)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.channel.send(child.Stop())
        self.thread.join(10)
        self.channel.close()
        self.database.close()


@pytest.fixture
def parent(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    monkeypatch.setattr(child, "CHILD_MEMORY", 1 << 40)  # the child's process is that of all tests here
    made = Parent(database, tmp_path)
    yield made
    made.close()


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch) -> str:
    """A processing called `form` whose behaviour a test sets by its job's file name."""

    def run(task: Task) -> None:
        if task.job.file_name == "wrong":
            raise UserError("так нельзя")
        while task.job.file_name == "stop":
            task.may_go_on()
        if task.job.file_name == "lost":
            with task.database.statement() as cursor:
                cursor.execute("UPDATE tksva_q.job SET attempt = attempt + 1 WHERE id = %s", (task.job.id,))

    monkeypatch.setitem(REGISTER, "form", Processing("form", run))
    return "form"


def test_jobs_follow_each_other_without_the_parent(parent: Parent, sql: Queries, form: str) -> None:
    ids = [parent.submit(form) for _ in range(3)]
    parent.give()
    assert parent.until_idle() == (ids, child.Idle(retiring=False, lost=False))
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("done",)]


def test_the_users_mistake_ends_the_job_and_not_the_child(parent: Parent, sql: Queries, form: str) -> None:
    parent.submit(form, file_name="wrong")
    good = parent.submit(form)
    parent.give()
    assert parent.until_idle()[0][-1] == good
    assert sql("SELECT state, error FROM tksva_q.job ORDER BY id") == [("failed", "так нельзя"), ("done", None)]


def test_what_is_not_registered_cannot_be_run(parent: Parent, sql: Queries) -> None:
    parent.submit("find")
    parent.give()
    assert parent.until_idle() == ([], child.Idle(retiring=False, lost=False))
    assert sql.value("SELECT state FROM tksva_q.job") == "failed"


def test_a_job_that_somebody_else_owns_is_left_to_him(parent: Parent, sql: Queries, form: str) -> None:
    parent.submit(form, file_name="lost")
    parent.give()
    assert parent.until_idle()[1] == child.Idle(retiring=False, lost=True)
    assert sql.value("SELECT state FROM tksva_q.job") == "running"


def test_a_child_asked_to_stop_gives_its_job_back_and_ends(parent: Parent, sql: Queries, form: str) -> None:
    parent.submit(form, file_name="stop")
    parent.submit(form)
    with parent.database.statement() as cursor:
        job = jobs.claim(cursor, parent.worker, 0)
    assert job is not None
    parent.channel.send(child.Run(job))
    parent.channel.send(child.Stop())
    parent.thread.join(10)
    assert not parent.thread.is_alive()
    assert sql("SELECT state, spent FROM tksva_q.job ORDER BY id") == [("waiting", 0), ("waiting", 0)]


def test_a_child_that_has_grown_asks_to_be_replaced(parent: Parent, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CHILD_MEMORY", 1)
    ids = [parent.submit(form) for _ in range(2)]
    parent.give()
    assert parent.until_idle() == (ids[:1], child.Idle(retiring=True, lost=False))
