"""Tasks are made when their interval has passed, and cancelled when they hang."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from db import Database
from integrations.parsers import groups
from tests.database import Queries
from tests.parsers.conftest import GROUP, Parsers


def test_what_is_switched_off_gets_no_tasks(client: httpx.Client, sql: Queries) -> None:
    sql("UPDATE parsers.source SET is_active = false WHERE id = 1")
    sql("UPDATE parsers.source_task_type SET is_active = false WHERE source_id = 2")
    assert [one["source_type"] for one in client.post(GROUP).json()["groups"]] == ["vk"]
    sql("UPDATE parsers.task_type SET is_active = false")
    sql("UPDATE parsers.task_group SET planned_for = planned_for - interval '1 day'")
    assert client.post(GROUP).json()["tasks_total"] == 0


def test_a_schedule_whose_job_begins_late_keeps_its_interval(parsers: Parsers, database: str, sql: Queries) -> None:
    """Counted from when a job began, a minute's interval would now and then be two."""
    sql("UPDATE parsers.task_type SET interval_seconds = 60")
    own = Database(database, "test")
    slot = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in range(3):
        with own.transaction() as cursor:
            assert sum(one.tasks for one in groups.generate(cursor, slot + timedelta(minutes=minute))) == 3
    with own.transaction() as cursor:
        assert groups.generate(cursor, slot + timedelta(minutes=2)) == []  # the same job once more
    own.close()
    assert sql.value("SELECT bool_and(expires_at > now() + interval '590 s') FROM parsers.task_group")


def test_the_status_of_a_group_follows_from_its_tasks(parsers: Parsers, sql: Queries) -> None:
    parsers.tasks(3)
    group = sql.value("SELECT max(id) FROM parsers.task_group")
    tasks = [task for (task,) in sql("SELECT id::text FROM parsers.task WHERE group_id = %s", group)]

    def derived(*statuses: str) -> str:
        for task, one in zip(tasks, statuses, strict=True):
            sql("UPDATE parsers.task SET status = %s WHERE id = %s", one, task)
        return str(sql.value("SELECT parsers.group_status(%s)", group))

    assert derived("created", "created", "created") == "created"
    assert derived("created", "sent", "sent") == "sent"
    assert derived("sent", "success", "sent") == "in_progress"
    assert derived("in_progress", "sent", "created") == "in_progress"
    assert derived("success", "success", "success") == "success"
    assert derived("success", "error", "cancelled") == "error"
    assert derived("success", "cancelled", "success") == "cancelled"
    assert sql.value("SELECT parsers.group_status(0)") == "created"


def test_what_has_ended_is_forgotten_after_its_days_and_not_before_its_interval(
    parsers: Parsers, own: Database, sql: Queries
) -> None:
    days = groups.KEEP_DAYS + 1
    [in_work], [slow], [recent] = parsers.tasks(1), parsers.tasks(1, "vk"), parsers.tasks(1)
    for _ in range(groups.FORGOTTEN + 2):
        parsers.tasks(1)
    old = "UPDATE parsers.task_group SET planned_for = planned_for - make_interval(days => %s), expires_at = now()"
    sql(f"{old} WHERE id <> (SELECT group_id FROM parsers.task WHERE id = %s)", days, recent)
    sql("UPDATE parsers.task SET status = 'success' WHERE id <> %s", in_work)
    sql(
        "INSERT INTO parsers.source_task_type (source_id, task_type_id, interval_seconds)"
        " SELECT source_id, 1, %s FROM parsers.task WHERE id = %s",
        (days + 1) * 86400,
        slow,
    )
    forgotten = []
    while not forgotten or forgotten[-1]:
        with own.transaction() as cursor:
            forgotten.append(groups.forget_ended(cursor))
    assert forgotten == [groups.FORGOTTEN, 2, 0]
    assert {task for (task,) in sql("SELECT id::text FROM parsers.task")} == {in_work, slow, recent}
