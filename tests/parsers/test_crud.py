"""What all lists of the API have in common: pages, 404, 409."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx

from tests.database import Queries
from tests.parsers.conftest import API, COMMENTS, FEED, GROUP, Parsers, detail
from tests.web.server import Web


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
