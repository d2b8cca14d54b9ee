"""The child's side, in this process: what it tells its parent, and what it leaves alone."""

from __future__ import annotations

import pytest

import child
import jobs
from errors import UserError
from processings import REGISTER, Processing
from tasks import Task
from tests.database import Queries
from tests.parent import Parent, parent
from tests.waiting import join

__all__ = ["parent"]


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
    join(parent.thread)
    assert sql("SELECT state, spent FROM tksva_q.job ORDER BY id") == [("waiting", 0), ("waiting", 0)]


def test_a_child_that_has_grown_asks_to_be_replaced(parent: Parent, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CHILD_MEMORY", 1)
    ids = [parent.submit(form) for _ in range(2)]
    parent.give()
    assert parent.until_idle() == (ids[:1], child.Idle(retiring=True, lost=False))
