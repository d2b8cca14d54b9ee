"""The page of the deals in a real browser: who is on leave, whose turn it is, who got what, what failed and why."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from db import Database
from faults.bitrix import Bitrix
from tests.daemons import Daemon
from tests.database import Queries
from tests.deals.conftest import ON, await_states, fast, leave, queue, states
from tests.deals.failures import fail
from tests.web.server import Web, form_token


def test_a_person_sees_managers_and_assignments_and_retries_what_failed(  # noqa: PLR0913, PLR0917 -- fixtures
    page: Page,
    deals: Database,
    sql: Queries,
    bitrix: Bitrix,
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],
) -> None:
    bitrix.absent = {2, 3, 4}
    bitrix.contacts[1005] = "77"
    leave(deals, 6)
    queue(deals, 1, 2, 3, 4, 5)
    start_daemon(**fast(bitrix))
    await_states(sql, done=2, failed=3)
    page.goto(f"{start_web(**fast(bitrix)).url}/")
    page.get_by_role("link", name="Сделки").click()
    managers, failures, got = (page.get_by_role("region", name=name) for name in ("Менеджеры", "Ошибки", "Кому что"))
    expect(managers).to_contain_text("0 сделок ждут, 3 с ошибкой, 2 роздано.")
    expect(managers.get_by_role("row", name="Менеджер 6")).to_contain_text("в отпуске")
    person = bitrix.deals[1]
    expect(managers.get_by_role("row", name=f"Менеджер {person}")).to_contain_text("уже получил")
    expect(managers.locator("tbody tr")).to_have_count(6)
    expect(got.get_by_role("row", name="1 1001")).to_contain_text(f"Менеджер {person} {person}")
    expect(got.get_by_role("row", name="1 1001")).to_contain_text("жребий")
    expect(got.get_by_role("row", name="5 1005 77")).to_contain_text("ответственный контакта")
    expect(failures.locator("tbody tr")).to_have_count(3)
    expect(failures.get_by_role("row", name="2 1002")).to_contain_text("crm.deal.update: 400")
    expect(failures.get_by_role("row", name="2 1002")).to_contain_text("Not found")

    bitrix.absent = set()
    failures.get_by_role("button", name="Повторить сделку 3").click()
    await_states(sql, done=3, failed=2)
    page.reload()
    expect(failures.locator("tbody tr")).to_have_count(2)
    expect(got.get_by_role("row", name="3 1003")).to_be_visible()
    failures.get_by_role("button", name="Повторить все").click()
    await_states(sql, done=5)
    page.reload()
    expect(failures.get_by_text("Ошибок нет.")).to_be_visible()
    expect(got.locator("tbody tr")).to_have_count(5)


def test_a_long_error_queue_is_told_to_be_longer_and_scripts_in_it_are_text(
    deals: Database, sql: Queries, start_web: Callable[..., Web]
) -> None:
    queue(deals, *range(1, 121))
    fail(sql, *range(1, 121))
    sql("UPDATE tksva_q.deal SET error = '<script>alert(1)</script>'")
    sql("UPDATE tksva_q.deal_manager SET user_name = '<img src=x>'")
    with start_web(**ON).client() as client:
        text = client.get("/deals").text
    assert "Показаны первые 100 из 120" in text
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_a_form_of_another_page_retries_nothing(deals: Database, sql: Queries, start_web: Callable[..., Web]) -> None:
    queue(deals, 1, 2)
    fail(sql, 1, 2)
    with start_web(**ON).client() as client:
        token = form_token(client.get("/deals").text)
        assert client.post("/deals/retry", data={"token": "x"}).status_code == 403
        assert client.post("/deals/1/retry", data={"token": "x"}).status_code == 403
        assert states(sql) == {"failed": 2}
        assert client.post("/deals/1/retry", data={"token": token}).status_code == 303
        assert states(sql) == {"failed": 1, "waiting": 1}
        assert client.post("/deals/retry", data={"token": token}).headers["location"] == "/deals"
        assert states(sql) == {"waiting": 2}
