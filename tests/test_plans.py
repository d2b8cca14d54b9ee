"""What the loop and its children ask touches few rows, whatever the history: no statement reads a table whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import attempts
import brief
import jobs
import progress
import timetable
from db import Database
from firing import PRUNE_EVERY, Clock
from jobs import Job
from progress import PageRecord, Progress
from queue_manager import QueueManager
from schedules import Schedule
from tests.daemons import make_settings
from tests.database import Queries
from tests.plans import history, whole_reads

#: More often than a prepared statement is planned for its values, so that the general plan has its turn.
ROUNDS = 12


@pytest.fixture
def manager(database: str, tmp_path: Path, sql: Queries) -> Iterator[QueueManager]:
    """A queue manager without children, on 50,000 finished rows and 500 that wait."""
    history(sql)
    for number in range(500):
        sql.post(f"{number}.csv")
    sql("ANALYZE post")
    with mock.patch("worker_loop.Crew") as crew:
        crew.return_value.slots = []
        made = QueueManager(make_settings(database, tmp_path), database)
    made._connect()
    made._dispatch()
    sql("ANALYZE tksva_q.job")
    yield made
    made.database.close()


def claim(manager: QueueManager) -> Job:
    with manager.database.statement() as cursor:
        job = jobs.claim(cursor, manager.me.id, 0)
    assert job is not None
    return job


def advance(database: Database, job: Job, page: int) -> None:
    record = PageRecord(page, 10, 100, {"page": 0.1})
    with database.statement() as cursor:
        progress.record(cursor, job.fence, Progress(page * 10, 100, page * 100, {"key": page * 10}, record))


def settle(database: Database, job: Job, end: jobs.Settlement) -> None:
    with database.transaction() as cursor:
        jobs.settle(cursor, job.fence, job.dwh_table, end)


def test_the_counter_sees_a_table_that_is_read_whole(manager: QueueManager, sql: Queries) -> None:
    before = whole_reads(manager.database, sql)
    with manager.database.statement() as cursor:
        cursor.execute("SELECT count(*) FROM post WHERE left(task_status, 3) = '…'")
    assert whole_reads(manager.database, sql) == before + 1


def test_a_tick_reads_no_table_whole(manager: QueueManager, sql: Queries) -> None:
    before = whole_reads(manager.database, sql)
    for number in range(ROUNDS):
        sql.post(f"new {number}.csv")
        manager._tick()
        manager._dispatch()
    assert whole_reads(manager.database, sql) == before
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'waiting'") == 500 + ROUNDS


def test_a_claim_its_pages_and_its_end_read_no_table_whole(manager: QueueManager, sql: Queries) -> None:
    before = whole_reads(manager.database, sql)
    for end in (attempts.DONE, attempts.CANCELLED, jobs.Settlement("waiting", "retry", "…", delay=60)):
        for _ in range(ROUNDS):
            job = claim(manager)
            advance(manager.database, job, 1)
            advance(manager.database, job, 2)
            settle(manager.database, job, end)
    assert whole_reads(manager.database, sql) == before
    assert sql("SELECT outcome, count(*) FROM tksva_q.attempt GROUP BY outcome ORDER BY outcome") == [
        ("cancelled", ROUNDS),
        ("done", ROUNDS),
        ("retry", ROUNDS),
    ]


def test_files_that_are_due_are_found_without_reading_a_table_whole(manager: QueueManager, sql: Queries) -> None:
    sql(
        "UPDATE post SET task_status = 'файл подготовлен', task_status_timestamp = localtimestamp - interval '5 days'"
        " WHERE id %% 1000 = %s; ANALYZE post",
        0,
    )
    due = sql.value("SELECT count(*) FROM post WHERE task_status = 'файл подготовлен'")
    before = whole_reads(manager.database, sql)
    manager._tick()
    assert whole_reads(manager.database, sql) == before
    assert due == 50
    assert sql.value("SELECT count(*) FROM post WHERE task_status = 'файл подготовлен'") == 0


def test_jobs_of_a_dead_worker_are_found_without_reading_a_table_whole(manager: QueueManager, sql: Queries) -> None:
    job = claim(manager)
    sql("UPDATE tksva_q.worker SET id = gen_random_uuid(), seen_at = '2000-01-01', host = 'elsewhere'")
    sql("UPDATE tksva_q.job SET worker = (SELECT id FROM tksva_q.worker) WHERE id = %s", job.id)
    before = whole_reads(manager.database, sql)
    manager._tick()
    assert whole_reads(manager.database, sql) == before
    assert sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job.id) == "waiting"


# --- schedules --------------------------------------------------------------------------------------------------------

SCHEDULE_TABLES = ("job", "post", "slot")
NOON = 1_772_366_400.0


@pytest.fixture
def ticking(manager: QueueManager, sql: Queries, nothing: None) -> tuple[list[Schedule], Clock]:
    """Ten schedules that are due every second, beside 50,000 slots of theirs and of others, decided and done."""
    sql(
        "INSERT INTO tksva_q.job (form, schedule, planned_at, state, started_at, finished_at)"
        " SELECT 'nothing', 'tick ' || g %% 50, to_timestamp(%s) - g * interval '1 s', 'done', now(), now()"
        " FROM generate_series(1, 50000) g;"
        "INSERT INTO tksva_q.slot SELECT schedule, planned_at, 'fired', id FROM tksva_q.job WHERE schedule IS NOT NULL;"
        "ANALYZE tksva_q.job; ANALYZE tksva_q.slot",
        NOON,
    )
    schedules = [Schedule(f"tick {number}", "* * * * * *", "nothing", overlap="queue") for number in range(10)]
    clock = Clock(schedules)
    clock.tick(manager.database, NOON)
    return schedules, clock


def test_slots_are_decided_and_their_jobs_run_without_reading_a_table_whole(
    manager: QueueManager, sql: Queries, ticking: tuple[list[Schedule], Clock]
) -> None:
    _, clock = ticking
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 day' WHERE state = 'waiting'")  # not these
    before = whole_reads(manager.database, sql, SCHEDULE_TABLES)
    for second in range(1, ROUNDS + 1):
        assert clock.tick(manager.database, NOON + second) == 10
        for _ in range(10):
            settle(manager.database, claim(manager), attempts.DONE)
    clock.tick(manager.database, NOON + ROUNDS + PRUNE_EVERY)  # late: some of them are missed, and old slots go
    assert whole_reads(manager.database, sql, SCHEDULE_TABLES) == before
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE schedule IS NOT NULL AND state = 'done'") == (
        50_000 + 10 * ROUNDS
    )


def test_what_a_person_sees_of_schedules_and_does_to_them_reads_no_table_whole(
    manager: QueueManager, sql: Queries, ticking: tuple[list[Schedule], Clock]
) -> None:
    schedules, _ = ticking
    before = whole_reads(manager.database, sql, SCHEDULE_TABLES)
    with manager.database.transaction() as cursor:
        assert len(timetable.listing(cursor, schedules)) == len(schedules)
    for schedule in schedules:
        assert timetable.start(manager.database, schedule)
        assert timetable.start(manager.database, schedule)
        assert len(timetable.stop(manager.database, schedule)) == 2
    assert whole_reads(manager.database, sql, SCHEDULE_TABLES) == before


def test_a_batch_is_claimed_and_settled_without_reading_the_queue_whole(manager: QueueManager, sql: Queries) -> None:
    sql("INSERT INTO tksva_q.job (form, params, priority) SELECT 'brief', '{}', 10 FROM generate_series(1, 2000)")
    sql("ANALYZE tksva_q.job")
    claim(manager)
    before = whole_reads(manager.database, sql)
    for _ in range(ROUNDS):
        with manager.database.transaction() as cursor:
            batch = brief.claim_more(cursor, manager.me.id, 0, ["brief"])
            brief.settle_done(cursor, batch)
        assert len(batch) == brief.BATCH - 1
    assert whole_reads(manager.database, sql) == before
