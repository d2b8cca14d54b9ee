"""Groups of tasks, and tasks, over HTTP."""

from __future__ import annotations

import httpx

from tests.database import Queries
from tests.parsers.conftest import API, FEED, GROUP, detail


def test_groups_and_tasks_are_found_changed_and_deleted(client: httpx.Client, sql: Queries) -> None:
    rss = next(one["id"] for one in client.post(GROUP).json()["groups"] if one["source_type"] == "rss")
    group = client.get(f"{GROUP}{rss}").json()
    assert (group["tasks"], group["status"], group["source_type"]) == (2, "created", "rss")
    later = client.patch(f"{GROUP}{rss}", json={"expires_at": "2199-01-01T00:00:00+03:00"})
    assert later.json()["expires_at"] == "2198-12-31T21:00:00Z"
    new = client.post(f"{API}/source/", json=FEED).json()["id"]
    added = client.post(f"{API}/task/", json={"group_id": rss, "source_id": new})
    assert added.status_code == 201
    task = added.json()
    assert (task["status"], task["payload"]["task_id"]) == ("created", task["id"])
    assert task["payload"]["source"]["external_id"] == FEED["external_id"]
    path = f"{API}/task/{task['id']}"
    assert client.get(path).json() == task
    ended = client.patch(path, json={"status": "cancelled", "error": "не нужна"}).json()
    assert (ended["status"], ended["error"], ended["finished_at"] is None) == ("cancelled", "не нужна", False)
    assert detail(client.patch(path, json={"status": "success"}), 409) == "задача уже закончена: cancelled"
    assert client.delete(path).status_code == 204
    assert detail(client.get(path), 404) == "такой записи нет"
    assert client.delete(f"{GROUP}{rss}").status_code == 204
    assert sql.value("SELECT count(*) FROM parsers.task WHERE group_id = %s", rss) == 0
