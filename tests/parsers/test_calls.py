"""The two calls that make tasks and cancel what hangs."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.database import Queries
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
