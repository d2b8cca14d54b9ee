"""The page of the reports: a day's rows, the form, the files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import httpx
from playwright.sync_api import Page, expect

from tests.daemons import Daemon
from tests.daily_reports.conftest import ON, Shop
from tests.database import Queries
from tests.web.conftest import page
from tests.web.server import Web, form_token

__all__ = ["page"]

DAY = "2024-01-15"


def test_the_page_shows_yesterday_where_no_day_is_chosen(client: httpx.Client) -> None:
    before = datetime.now(UTC)
    text = client.get("/daily_reports").text
    after = datetime.now(UTC)
    assert any(f"За {(moment - timedelta(days=1)).date()}" in text for moment in (before, after))
    assert "Строк за этот день нет." in text
    assert '<a href="/daily_reports" aria-current="page">Отчёты</a>' in text


def test_a_long_day_is_shown_in_pages(client: httpx.Client, shop: Shop, sql: Queries) -> None:
    shop.many(150, f"{DAY} 10:00+00")
    sql("INSERT INTO reports (report_at, order_id, count_product) SELECT %s, id, 3 FROM orders", DAY)
    first = unescape(client.get("/daily_reports", params={"report_date": DAY}).text)
    assert "150 заказов, 450 товаров" in first.replace("\u00a0", " ")
    assert first.count('<th scope="row">') == 100
    assert f"/daily_reports?report_date={DAY}&page=2" in first
    second = client.get("/daily_reports", params={"report_date": DAY, "page": 2}).text
    assert second.count('<th scope="row">') == 50
    assert 'rel="next"' not in second


def test_the_form_says_what_is_wrong_and_takes_only_its_own_token(client: httpx.Client, sql: Queries) -> None:
    token = form_token(client.get("/daily_reports").text)
    for start, finish, complaint in (
        ("15.01.2024", DAY, "С: нужна дата"),
        (DAY, "2024-02-30", "По: дня 2024-02-30 нет"),
        (DAY, "2024-01-14", "раньше"),
        (DAY, "2044-01-14", "не больше 3660"),
    ):
        answer = client.post("/daily_reports", data={"start_date": start, "finish_date": finish, "token": token})
        assert answer.status_code == 422
        assert complaint in answer.text
    foreign = client.post("/daily_reports", data={"start_date": DAY, "finish_date": DAY, "token": "x"})
    assert foreign.status_code == 403
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_a_person_has_a_day_made_sees_it_come_and_takes_it_along(
    page: Page, shop: Shop, start_web: Callable[..., Web], start_daemon: Callable[..., Daemon]
) -> None:
    order = shop.order(f"{DAY} 10:00+00", 2, 5)
    start_daemon(**ON)
    page.goto(f"{start_web(**ON).url}/daily_reports?report_date={DAY}")
    expect(page.get_by_text("Строк за этот день нет.")).to_be_visible()
    page.get_by_role("button", name="Сгенерировать").click()
    expect(page.locator(".badge.done")).to_be_visible(timeout=20_000)  # without a reload
    expect(page.get_by_role("row", name=f"{order} 7")).to_be_visible(timeout=20_000)
    with page.expect_download() as file:
        page.get_by_role("link", name="Скачать CSV").click()
    assert file.value.suggested_filename == "report_2024-01-15.csv"
    assert f";{DAY};{order};7\n" in file.value.path().read_text(encoding="utf-8-sig")
