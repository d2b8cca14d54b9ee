"""Tasks are made when their interval has passed, and cancelled when they hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from db import Database
from integrations.parsers import groups
from tests.conftest import Daemon, Queries, wait_for
from tests.parsers.conftest import GROUP, Parsers

CANCEL = f"{GROUP}cancel_expired_task_group"


def test_a_group_for_each_kind_of_source_whose_interval_has_passed(
    client: httpx.Client, parsers: Parsers, sql: Queries
) -> None:
    made = client.post(GROUP)
    assert made.status_code == 201
    assert {(one["source_type"], one["task_type"], one["tasks"], one["topic"]) for one in made.json()["groups"]} == {
        ("rss", "posts", 2, parsers.topics["rss"]),
        ("vk", "posts", 1, parsers.topics["vk"]),
    }
    assert made.json()["tasks_total"] == 3
    assert sql.value("SELECT count(*) FROM parsers.task WHERE payload ->> 'task_id' = id::text") == 3
    assert client.post(GROUP).json() == {"groups": [], "tasks_total": 0}
    sql("UPDATE parsers.source_task_type SET interval_seconds = 60 WHERE source_id = 3")
    sql("UPDATE parsers.task_group SET planned_for = planned_for - interval '2 minutes'")
    assert client.post(GROUP).json()["tasks_total"] == 1
    assert 'tksva_q_parser_tasks{state="created",type="rss"} 2.0' in client.get("/metrics").text


def test_what_is_switched_off_gets_no_tasks(client: httpx.Client, sql: Queries) -> None:
    sql("UPDATE parsers.source SET is_active = false WHERE id = 1")
    sql("UPDATE parsers.source_task_type SET is_active = false WHERE source_id = 2")
    assert [one["source_type"] for one in client.post(GROUP).json()["groups"]] == ["vk"]
    sql("UPDATE parsers.task_type SET is_active = false")
    sql("UPDATE parsers.task_group SET planned_for = planned_for - interval '1 day'")
    assert client.post(GROUP).json()["tasks_total"] == 0


def test_ten_generations_at_once_end_as_one(client: httpx.Client, sql: Queries) -> None:
    totals: list[int] = []
    threads = [
        threading.Thread(target=lambda: totals.append(client.post(GROUP).json()["tasks_total"])) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(totals) == [0] * 9 + [3]
    assert sql.value("SELECT count(*) FROM parsers.task") == 3


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


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_is_past_its_time_is_cancelled_and_what_has_ended_stays(
    client: httpx.Client, sql: Queries, method: str
) -> None:
    client.post(GROUP)
    sql("UPDATE parsers.task SET status = 'success' WHERE source_id = 1")
    sql("UPDATE parsers.task SET status = 'in_progress' WHERE source_id = 2")
    assert client.request(method, CANCEL).json() == {"cancelled_groups": 0, "cancelled_tasks": 0}
    sql("UPDATE parsers.task_group SET expires_at = now() - interval '1 s'")
    assert client.request(method, CANCEL).json() == {"cancelled_groups": 2, "cancelled_tasks": 2}
    assert client.request(method, CANCEL).json() == {"cancelled_groups": 0, "cancelled_tasks": 0}
    assert sql("SELECT status, error FROM parsers.task ORDER BY source_id") == [
        ("success", None),
        ("cancelled", "срок вышел"),
        ("cancelled", "срок вышел"),
    ]


def test_both_calls_are_schedules_of_the_queue(
    parsers: Parsers, sql: Queries, start_daemon: Callable[..., Daemon]
) -> None:
    start_daemon(**parsers.settings, kafka_workers_enabled="off")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.schedule WHERE name LIKE 'parsers_%%'") == 2, 30)
    sql("INSERT INTO tksva_q.job (form, params) VALUES ('parsers_generate', '{}'), ('parsers_cancel_expired', '{}')")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") >= 2, 30)
    assert sql.value("SELECT count(*) FROM parsers.task") == 3


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
