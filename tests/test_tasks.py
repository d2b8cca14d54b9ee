"""What a processing is given: it records only what is its own, and stops where it can be taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import jobs
import leases
from db import Database, DatabaseAway
from errors import Cancelled, Interrupted, LostJob
from inbox import Inbox
from progress import PageRecord, Progress
from tasks import Task
from tests.daemons import make_settings
from tests.database import TABLE, Queries

MADE = Progress(5, 10, 100, {"key": 5}, PageRecord(1, 5, 100, {"fetch": 0.1}))


def no_warehouse() -> object:
    raise AssertionError("nobody asked for the warehouse")


@pytest.fixture
def make_task(own: Database, sql: Queries, database: str, tmp_path: Path) -> Callable[..., Task]:
    def make(stopping: Callable[[], bool] = lambda: False) -> Task:
        sql.post("a.csv")
        Inbox(lambda request: TABLE).take_in(own)
        me = leases.Worker.this_process(15)
        with own.statement() as cursor:
            me.renew(cursor)
            job = jobs.claim(cursor, me.id, 0)
        assert job is not None
        return Task(job, make_settings(database, tmp_path), own, no_warehouse, stopping)  # type: ignore[arg-type]

    return make


def test_what_is_recorded_is_there_at_once_for_others_to_see(make_task: Callable[..., Task], sql: Queries) -> None:
    make_task().record(MADE)
    assert sql("SELECT task_status FROM post") == [("загружено 5 из 10",)]
    assert sql("SELECT rows, total, bytes, cursor FROM tksva_q.job") == [(5, 10, 100, {"key": 5})]
    assert sql("SELECT page, rows, bytes, seconds FROM tksva_q.page") == [(1, 5, 100, {"fetch": 0.1})]


def test_a_record_without_a_page_leaves_the_journal_of_pages_alone(
    make_task: Callable[..., Task], sql: Queries
) -> None:
    make_task().record(Progress(0, 10, 3, {"key": 0}))
    assert sql("SELECT task_status FROM post") == [("загружено 0 из 10",)]
    assert sql("SELECT * FROM tksva_q.page") == []


def test_a_task_that_has_lost_its_job_is_told_so(make_task: Callable[..., Task], sql: Queries) -> None:
    task = make_task()
    sql("UPDATE tksva_q.job SET attempt = attempt + 1")
    with pytest.raises(LostJob):
        task.record(MADE)
    assert sql("SELECT rows FROM tksva_q.job") == [(0,)]


def test_a_task_whose_row_was_hidden_is_told_so(make_task: Callable[..., Task], sql: Queries) -> None:
    task = make_task()
    sql("UPDATE post SET task_status = 'скрыта пользователем'")
    with pytest.raises(Cancelled):
        task.record(MADE)


def test_nothing_is_recorded_while_the_database_is_away(make_task: Callable[..., Task], sql: Queries) -> None:
    task = make_task()
    sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'test'")
    with pytest.raises(DatabaseAway):
        task.record(MADE)
    assert sql("SELECT rows FROM tksva_q.job") == [(0,)]
    task.record(MADE)
    assert sql("SELECT rows FROM tksva_q.job") == [(5,)]


def test_a_task_goes_on_until_its_worker_is_asked_to_stop(make_task: Callable[..., Task]) -> None:
    asked = [False]
    task = make_task(lambda: asked[0])
    task.may_go_on()
    asked[0] = True
    with pytest.raises(Interrupted):
        task.may_go_on()


def test_a_task_that_asks_for_no_warehouse_opens_none(make_task: Callable[..., Task]) -> None:
    task = make_task()
    task.may_go_on()
    task.record(MADE)
    with pytest.raises(AssertionError, match="nobody asked"):
        task.warehouse()
