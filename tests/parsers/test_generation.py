"""Tasks are made when their interval has passed, and cancelled when they hang."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

import db
from tests.conftest import Queries
from tests.web.conftest import start_web  # noqa: F401 -- a fixture
from tests.web.server import Web

GROUP = "/api/v1/task_group/"
CANCEL = f"{GROUP}cancel_expired_task_group"
SOURCES = """
INSERT INTO parsers.source (name, type, external_id) VALUES ('a', 'rss', '1'), ('b', 'rss', '2'), ('c', 'vk', '3');
INSERT INTO parsers.task_type (code, title, interval_seconds, timeout_seconds) VALUES ('posts', 'Записи', 3600, 600);
INSERT INTO parsers.source_task_type (source_id, task_type_id) SELECT s.id, t.id
FROM parsers.source s, parsers.task_type t
"""


@pytest.fixture
def client(database: str, sql: Queries, start_web: Callable[..., Web]) -> Iterator[httpx.Client]:  # noqa: F811
    db.migrate(database, workloads=["parsers"])
    sql(SOURCES)
    with start_web(integrations="parsers").client() as client:
        yield client


def test_a_group_for_each_kind_of_source_whose_interval_has_passed(client: httpx.Client, sql: Queries) -> None:
    made = client.post(GROUP)
    assert made.status_code == 201
    assert {(one["source_type"], one["task_type"], one["tasks"], one["topic"]) for one in made.json()["groups"]} == {
        ("rss", "posts", 2, "rss_parser_tasks"),
        ("vk", "posts", 1, "vk_parser_tasks"),
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
    assert client.request(method, CANCEL).json() == {"cancelled_groups": 0, "cancelled_tasks": 0}
    sql("UPDATE parsers.task_group SET expires_at = now() - interval '1 s'")
    assert client.request(method, CANCEL).json() == {"cancelled_groups": 2, "cancelled_tasks": 2}
    assert sql.value("SELECT status FROM parsers.task WHERE source_id = 1") == "success"
