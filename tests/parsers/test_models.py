"""What the API takes: a value that makes no sense is refused and named."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.parsers.conftest import API, COMMENTS, FEED, detail

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
