"""The lists of the parser manager: what is made, found, changed, deleted, and every way to be refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import Queries
from tests.parsers.conftest import GROUP, Parsers
from tests.web.server import TOKEN, Web
from tests.web.test_schema import CHECKS, NEGATIVE

#: Requests of each kind: there are 28 kinds.
EXAMPLES = 6
API = "/api/v1"
FEED = {"name": "лента", "type": "rss", "external_id": "https://example.org/feed"}
COMMENTS = {"code": "comments", "title": "Комментарии", "interval_seconds": 60, "timeout_seconds": 30}


def detail(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


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


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    nobody = uuid.uuid4()
    paths = ("source/999", "source_task_type/1/999", "task_group/999", f"task/{nobody}", "dictionary/task_type/999")
    bodies: dict[str, dict[str, Any]] = {f"task/{nobody}": {"status": "error"}}
    for path in paths:
        assert detail(client.get(f"{API}/{path}"), 404) == "такой записи нет"
        assert detail(client.patch(f"{API}/{path}", json=bodies.get(path, {})), 404) == "такой записи нет"
        assert detail(client.delete(f"{API}/{path}"), 404) == "такой записи нет"


def test_duplicates_and_wrong_references_are_conflicts(client: httpx.Client, sql: Queries) -> None:
    rss, vk = sorted(client.post(GROUP).json()["groups"], key=lambda one: one["source_type"])
    duplicate, absent = "такая запись уже есть", "записи, на которую ссылаются, нет"
    pair = {"source_id": 1, "task_type_id": 1}
    for path, body, reason in (
        ("source/", FEED | {"external_id": "1"}, duplicate),
        ("dictionary/task_type/", COMMENTS | {"code": "posts"}, duplicate),
        ("source_task_type/", pair, duplicate),
        ("source_task_type/", pair | {"source_id": 999}, absent),
        ("source_task_type/", pair | {"task_type_id": 999}, absent),
        ("task/", {"group_id": rss["id"], "source_id": 1}, duplicate),
        ("task/", {"group_id": 999, "source_id": 1}, "нет такой группы, или источника её типа"),
        ("task/", {"group_id": vk["id"], "source_id": 1}, "нет такой группы, или источника её типа"),
    ):
        assert detail(client.post(f"{API}/{path}", json=body), 409) == reason, (path, body)
    assert detail(client.patch(f"{API}/source/2", json={"external_id": "1"}), 409) == duplicate
    for path in ("source/1", "dictionary/task_type/1"):
        assert detail(client.delete(f"{API}/{path}"), 409) == "на запись ссылаются другие"
    sql(
        "UPDATE parsers.task_group SET source_type = 'vk', planned_for = planned_for - interval '1 day' WHERE id = %s",
        rss["id"],
    )
    planned = client.get(f"{GROUP}{rss['id']}").json()["planned_for"]
    assert detail(client.patch(f"{GROUP}{vk['id']}", json={"planned_for": planned}), 409) == duplicate


BAD: list[tuple[str, str, dict[str, Any] | None, str]] = [
    ("POST", "source/", FEED | {"type": "telegram"}, "type"),
    ("POST", "source/", FEED | {"name": ""}, "name"),
    ("POST", "source/", FEED | {"name": " "}, "name"),
    ("POST", "source/", FEED | {"name": "a\0b"}, "name"),
    ("POST", "source/", FEED | {"name": None}, "name"),
    ("POST", "source/", FEED | {"settings": []}, "settings"),
    ("POST", "source/", FEED | {"settings": {"a": "\0"}}, "settings"),
    ("POST", "source/", FEED | {"unheard": 1}, "unheard"),
    ("PATCH", "source/1", {"name": None}, "name"),
    ("PATCH", "source/1", {"is_active": "perhaps"}, "is_active"),
    ("POST", "dictionary/task_type/", COMMENTS | {"interval_seconds": 0}, "interval_seconds"),
    ("POST", "dictionary/task_type/", COMMENTS | {"timeout_seconds": 2**31}, "timeout_seconds"),
    ("POST", "source_task_type/", {"source_id": "x", "task_type_id": 1}, "source_id"),
    ("POST", "task/", {"group_id": 1}, "source_id"),
    ("PATCH", f"task/{uuid.UUID(int=1)}", {"status": "sent"}, "status"),
    ("PATCH", "task_group/1", {"expires_at": "2199-01-01"}, "expires_at"),
    ("PATCH", "task_group/1", {"expires_at": "9999-01-01T00:00:00Z"}, "expires_at"),
    ("GET", "source/0", None, "id"),
    ("GET", "source/x", None, "id"),
    ("GET", "task/x", None, "id"),
    ("GET", "source/?page=0", None, "page"),
    ("GET", "source/?size=1001", None, "size"),
    ("GET", "source/?type=x", None, "type"),
    ("GET", "task/?status=x", None, "status"),
]


def test_a_bad_value_is_refused_and_named(client: httpx.Client) -> None:
    for method, path, body, named in BAD:
        assert f".{named}" in detail(client.request(method, f"{API}/{path}", json=body), 422), (method, path, body)


def test_brackets_too_deep_and_half_characters_in_settings_are_bad_values(client: httpx.Client) -> None:
    deep = '{"a":' * 60 + "1" + "}" * 60
    for text in (deep, '{"a": "\\ud800"}', '{"a": 1e999}'):
        body = f'{{"name": "x", "type": "vk", "external_id": "x", "settings": {text}}}'
        answer = client.post(f"{API}/source/", content=body, headers={"Content-Type": "application/json"})
        assert "settings" in detail(answer, 422), text


def test_lists_come_in_pages_and_with_or_without_a_slash(
    parsers: Parsers, start_web: Callable[..., Web], sql: Queries
) -> None:
    sql("INSERT INTO parsers.source (name, type, external_id) SELECT g, 'youtube', g FROM generate_series(1, 250) g")
    with start_web(**parsers.settings).client() as client:
        first = client.get(f"{API}/source").json()
        assert (len(first["items"]), first["page"], first["size"], first["total"], first["pages"]) == (
            100,
            1,
            100,
            253,
            3,
        )
        last = client.get(f"{API}/source/?page=3").json()
        assert len(last["items"]) == 53
        assert client.get(f"{API}/source/?page=4").json()["items"] == []
        assert client.get(f"{API}/source/?type=youtube&size=7").json()["pages"] == 36
        assert client.get(f"{API}/source/?is_active=false").json()["total"] == 0
        assert client.post(f"{API}/task_group").status_code == 201
        assert client.get(f"{API}/task_group?status=created&source_type=vk").json()["total"] == 1
        assert client.get(f"{API}/task_group?status=sent").json()["total"] == 0
        assert client.get(f"{API}/task?source_id=1&status=created").json()["total"] == 1
        assert client.get(f"{API}/source_task_type?source_id=1").json()["total"] == 1
    with start_web(**parsers.settings, default_pagination_size=20).client() as client:
        assert client.get(f"{API}/source/").json()["pages"] == 13


def test_changing_needs_the_token_and_looking_does_not(parsers: Parsers, start_web: Callable[..., Web]) -> None:
    known = {"Authorization": b"Bearer " + TOKEN.encode()}
    with start_web(**parsers.settings, api_token=TOKEN).client() as client:
        for method, path in (
            ("POST", "task_group/"),
            ("POST", "task_group/cancel_expired_task_group"),
            ("GET", "task_group/cancel_expired_task_group"),
            ("POST", "source/"),
            ("PATCH", "source/1"),
            ("DELETE", "task_group/1"),
        ):
            assert client.request(method, f"{API}/{path}").status_code == 401, path
        assert client.get(f"{API}/source/").status_code == 200
        assert client.post(GROUP, headers=known).status_code == 201


def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(
    parsers: Parsers, start_web: Callable[..., Web]
) -> None:
    parsers.tasks(3)
    web = start_web(**parsers.settings)
    tried: set[str] = set()
    for result in (
        schemathesis.openapi.from_url(f"{web.url}/openapi.json").include(path_regex="^/api/v1").get_all_operations()
    ):
        operation = result.ok()
        tried.add(f"{operation.method.upper()} {operation.path}")

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=NEGATIVE)))
        def try_it(case: schemathesis.Case) -> None:
            case.validate_response(case.call(base_url=web.url), checks=CHECKS)

        try_it()
    assert len(tried) == 28
