"""Sources, types of tasks, and which source has tasks of which type, over HTTP."""

from __future__ import annotations

import httpx

from tests.parsers.conftest import API, COMMENTS, FEED, detail


def test_a_source_is_made_found_changed_and_deleted(client: httpx.Client) -> None:
    made = client.post(f"{API}/source/", json=FEED | {"settings": {"глубина": [1, 2.5, None]}})
    assert made.status_code == 201
    source = made.json()
    assert source == FEED | {
        "id": source["id"],
        "is_active": True,
        "settings": {"глубина": [1, 2.5, None]},
        "created_at": source["created_at"],
        "updated_at": source["updated_at"],
    }
    path = f"{API}/source/{source['id']}"
    assert client.get(path).json() == source
    changed = client.patch(path, json={"is_active": False, "settings": {}}).json()
    assert changed == source | {"is_active": False, "settings": {}, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > source["updated_at"]
    assert client.patch(path, json={}).json()["name"] == "лента"
    assert client.delete(path).status_code == 204
    for method in ("GET", "DELETE"):
        assert detail(client.request(method, path), 404) == "такой записи нет"
    assert detail(client.patch(path, json={}), 404) == "такой записи нет"


def test_a_type_of_tasks_is_made_given_to_a_source_and_taken_away(client: httpx.Client) -> None:
    made = client.post(f"{API}/dictionary/task_type/", json=COMMENTS)
    assert made.status_code == 201
    number = made.json()["id"]
    path, pair = f"{API}/dictionary/task_type/{number}", f"{API}/source_task_type/1/{number}"
    assert client.get(path).json() == COMMENTS | {"id": number, "is_active": True}
    given_ = client.post(f"{API}/source_task_type/", json={"source_id": 1, "task_type_id": number})
    assert given_.status_code == 201
    assert given_.json() == {"source_id": 1, "task_type_id": number, "is_active": True, "interval_seconds": None}
    assert client.patch(pair, json={"interval_seconds": 5}).json()["interval_seconds"] == 5
    assert client.patch(pair, json={"interval_seconds": None}).json()["interval_seconds"] is None
    assert client.get(pair).json() == given_.json()
    assert detail(client.delete(path), 409) == "на запись ссылаются другие"
    assert client.delete(pair).status_code == 204
    assert detail(client.get(pair), 404) == "такой записи нет"
    assert client.patch(path, json={"title": "Ответы"}).json()["title"] == "Ответы"
    assert client.delete(path).status_code == 204
    words = client.get(f"{API}/dictionary/").json()
    assert words["source_types"] == ["rss", "vk", "youtube"]
    assert [one["code"] for one in words["task_types"]] == ["posts"]
    assert words["final_statuses"] == ["success", "error", "cancelled"]
