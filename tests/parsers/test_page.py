"""The page of the parsers, for people."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from playwright.sync_api import Page, expect

from db import Database
from integrations.parsers import inbox
from integrations.parsers.inbox import Message, Span
from tests.database import Queries
from tests.parsers.conftest import Parsers
from tests.web.conftest import page
from tests.web.server import Web, form_token

__all__ = ["page"]


def test_the_page_of_a_new_installation_says_what_is_missing(
    database: str, parsers: Parsers, sql: Queries, start_web: Callable[..., Web]
) -> None:
    sql("TRUNCATE parsers.source CASCADE")
    with start_web(**parsers.settings, kafka_workers_enabled="off").client() as client:
        text = client.get("/parsers").text
    assert '<a href="/parsers" aria-current="page">Парсеры</a>' in text
    for words in ("Групп ещё не было.", "Источников ещё нет", "выключены (KAFKA_WORKERS_ENABLED)", "не применено 0"):
        assert words in text


def test_a_button_takes_only_its_own_token(client: httpx.Client, sql: Queries) -> None:
    assert client.post("/parsers/generate", data={"token": "x"}).status_code == 403
    assert sql.value("SELECT count(*) FROM parsers.task") == 0
    token = form_token(client.get("/parsers").text)
    assert client.post("/parsers/generate", data={"token": token}).status_code == 303
    sql("UPDATE parsers.task_group SET expires_at = now()")
    assert client.post("/parsers/cancel_expired", data={"token": token}).status_code == 303
    assert sql("SELECT DISTINCT status FROM parsers.task") == [("cancelled",)]


def test_a_person_makes_tasks_and_sees_how_they_go(
    page: Page, parsers: Parsers, sql: Queries, database: str, start_web: Callable[..., Web]
) -> None:
    own = Database(database, "test")
    with own.transaction() as cursor:
        inbox.begin(cursor, "task_statuses", {0: 0})
        inbox.apply(
            cursor, [Span("task_statuses", 0, 0, 1, 41)], [Message("task_statuses", 0, 0, None, b"<b>not a status</b>")]
        )
    own.close()
    page.goto(f"{start_web(**parsers.settings).url}/parsers")
    expect(page.get_by_text("Отправка задач: не запущена")).to_be_visible()
    page.get_by_role("button", name="Создать задачи").click()
    expect(page.get_by_role("row", name="создана 2 1 0")).to_be_visible()
    sql("UPDATE parsers.task SET status = 'error', error = 'нет <сети>', finished_at = now() WHERE source_id = 1")
    page.reload()
    expect(page.get_by_role("row", name="a RSS 1")).to_contain_text("ошибка нет <сети>")
    expect(page.get_by_role("row", name="ошибка 1 0 0")).to_be_visible()
    expect(page.get_by_role("row", name="Записи RSS")).to_contain_text("в работе")
    expect(page.get_by_role("row", name="task_statuses/0")).to_contain_text("40")
    expect(page.get_by_text("не применено 40")).to_be_visible()
    expect(page.get_by_text("не JSON")).to_be_visible()
