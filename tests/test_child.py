"""The child's side, in this process: what it tells its parent, and what it leaves alone."""

from __future__ import annotations

import pytest

import child
import jobs
from errors import UserError
from processings import REGISTER, Processing
from tasks import Task
from tests.database import TABLE, Queries, server_cursor
from tests.parent import Parent, parent
from tests.waiting import join, wait_for

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


def test_a_child_holds_no_table_while_it_waits_for_another(
    parent: Parent, sql: Queries, form: str, database: str
) -> None:
    other = "audit.other"
    sql("INSERT INTO dwh_tables_info (dwh_table_name) VALUES (%s)", other)
    hold = "SELECT FROM dwh_tables_info WHERE dwh_table_name = %s FOR UPDATE"
    first, second = (parent.submit(form, dwh_table=table) for table in (TABLE, other))
    with server_cursor(database) as elsewhere:  # another child ends a job that has read the other table ...
        elsewhere.connection.autocommit = False
        elsewhere.execute(hold, (other,))
        parent.give()
        wait_for(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 60)
        elsewhere.execute(hold, (TABLE,))  # ... and goes on with one that reads this
        assert sql.value("SELECT state FROM tksva_q.job WHERE id = %s", first) == "done"
        elsewhere.connection.rollback()
    assert parent.until_idle() == ([first, second], child.Idle(retiring=False, lost=False))
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("done",)]
    assert sql("SELECT DISTINCT gives_information FROM dwh_tables_info") == [(False,)]


def test_a_child_that_cannot_claim_apart_says_that_a_job_may_be_lost(
    parent: Parent, sql: Queries, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = parent.submit(form, dwh_table=TABLE)
    report = child._report

    def cut(run: child._Ended) -> None:
        report(run)
        sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tksva_q child 0'")

    monkeypatch.setattr(child, "_report", cut)
    parent.give()
    assert parent.until_idle() == ([ended], child.Idle(retiring=False, lost=True))
    assert sql("SELECT state, spent FROM tksva_q.job") == [("done", 1)]


def test_a_connection_that_ended_while_its_child_was_idle_costs_the_next_job_nothing(
    parent: Parent, sql: Queries, form: str
) -> None:
    connected = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tksva_q child 0'"
    (pid,) = wait_for(lambda: sql(connected), 60)[0]
    sql("SELECT pg_terminate_backend(%s)", pid)
    wait_for(lambda: not sql(connected), 60)
    parent.submit(form, max_attempts=1)
    parent.give()
    assert parent.until_idle()[1] == child.Idle(retiring=False, lost=False)
    assert sql("SELECT state, spent FROM tksva_q.job") == [("done", 1)]
