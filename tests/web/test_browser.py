"""The page in a real browser: what a newcomer does, from the form to the file, and an administrator after that."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable

from playwright.sync_api import Browser, Page, Route, expect

from integrations.daily_reports import NAME
from schema import migrate
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.installation import Installation, fill
from tests.web.server import TOKEN, Web


def test_a_newcomer_orders_both_files_sees_them_made_and_reads_them(page: Page, installation: Installation) -> None:
    installation.run(chunk_size=200)
    page.goto(installation.web.url)
    fill(page, "DownloadForStationForm", "Ворсино", "csv")
    page.locator("#DownloadForStationForm .estimate").click()
    expect(page.locator("#DownloadForStationForm output")).to_contain_text("строк")
    expected = installation.sql.value(
        "SELECT count(*) FROM audit._sales__execution_orders WHERE \"Ст. Отправления\" = 'Ворсино'"
        " AND \"SVOD.Дата отправки\" >= '2024-01-01' AND \"SVOD.Дата отправки\" < '2025-01-01'"
    )
    shown = page.locator("#DownloadForStationForm output").inner_text()
    assert int("".join(filter(str.isdigit, shown))) == expected
    page.locator("#DownloadForStationForm .primary").click()
    with page.expect_download() as csv_file:
        page.get_by_role("link", name="Скачать Ворсино 2024-01-01 — 2024-12-31.csv").click(timeout=60_000)
    text = csv_file.value.path().read_text(encoding="utf-8-sig")
    assert len(list(csv.reader(io.StringIO(text), delimiter=";"))) - 1 == expected
    assert csv_file.value.suggested_filename == "Ворсино 2024-01-01 — 2024-12-31.csv"

    fill(page, "DownloadForRailwayForm", "Калининградская", "xlsx")
    page.locator("#DownloadForRailwayForm .primary").click()
    with page.expect_download() as xlsx_file:
        page.get_by_role("link", name="Скачать Калининградская").click(timeout=60_000)
    assert zipfile.ZipFile(xlsx_file.value.path()).testzip() is None


def test_the_bar_moves_by_itself_and_a_running_job_is_cancelled(page: Page, installation: Installation) -> None:
    installation.slowly()
    installation.run(chunk_size=100)
    page.goto(installation.web.url)
    fill(page, "DownloadForRailwayForm", "Московская", "csv")
    page.locator("#DownloadForRailwayForm .primary").click()
    bar = page.locator(".job progress")
    wait_for(lambda: bar.count() == 1, 60)
    page.evaluate("window.loadedOnce = true")
    seen = [0.0]

    def moved() -> bool:
        page.wait_for_timeout(100)
        value = float(bar.get_attribute("value") or 0)
        if value != seen[-1]:
            seen.append(value)
        return len(seen) > 4

    wait_for(moved, 60)
    assert seen == sorted(seen)
    assert page.evaluate("window.loadedOnce")
    expect(page.locator(".figures .speed")).to_contain_text("строк/с")
    expect(page.locator(".figures .left")).to_contain_text("осталось")
    page.get_by_role("button", name="Отменить задание").click()
    wait_for(lambda: installation.sql.value("SELECT state FROM tksva_q.job") == "cancelled", 60)
    expect(page.get_by_text("Сейчас ничего не выполняется.")).to_be_visible(timeout=60_000)


def test_a_job_that_ends_before_the_page_listens_is_shown_as_ready(page: Page, installation: Installation) -> None:
    """Nothing else changes afterwards: without that the page would show it as waiting for half a minute."""
    installation.run()
    page.goto(installation.web.url)
    fill(page, "DownloadForStationForm", "Шушары", "csv")

    def hold(route: Route) -> None:
        wait_for(lambda: installation.sql("SELECT state FROM tksva_q.job") == [("done",)], 60)
        route.continue_()

    page.route("**/api/events", hold, times=1)
    page.locator("#DownloadForStationForm .primary").click()
    expect(page.get_by_role("link", name="Скачать Шушары")).to_be_visible(timeout=60_000)


def test_a_failed_job_is_retried(page: Page, installation: Installation) -> None:
    installation.sql("ALTER TABLE audit._sales__execution_orders RENAME TO away")
    installation.run(max_attempts=1)
    page.goto(installation.web.url)
    fill(page, "DownloadForStationForm", "Шушары", "csv")
    page.locator("#DownloadForStationForm .primary").click()
    retry = page.get_by_role("button", name="Повторить задание")
    expect(retry).to_be_visible(timeout=60_000)
    expect(page.locator(".job .reason")).to_contain_text("_sales__execution_orders")
    installation.sql("ALTER TABLE audit.away RENAME TO _sales__execution_orders")
    retry.click()
    expect(page.get_by_role("link", name="Скачать Шушары")).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Шушары").first.click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody")).to_contain_text("ошибка")


def test_dates_in_the_wrong_order_are_not_sent_and_are_refused_all_the_same(
    page: Page, installation: Installation
) -> None:
    page.goto(installation.web.url)
    fill(page, "DownloadForStationForm", "Шушары", "csv")
    order = page.locator("#DownloadForStationForm")
    order.locator("[name=start_date]").fill("2024-12-31")
    order.locator("[name=finish_date]").fill("2024-12-30")
    order.locator(".primary").click()
    assert installation.sql.value("SELECT count(*) FROM tksva_q.job") == 0
    assert order.locator("[name=finish_date]").evaluate("field => field.validationMessage") != ""
    order.evaluate("form => form.noValidate = true")
    order.locator(".primary").click()
    expect(page.get_by_role("alert").first).to_contain_text("раньше")
    expect(order.locator("[name=place]")).to_have_value("Шушары")


def test_everything_works_without_the_script(browser: Browser, installation: Installation) -> None:
    installation.run()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(installation.web.url)
    fill(page, "DownloadForStationForm", "Ворсино", "csv")
    page.locator("#DownloadForStationForm .estimate").click()
    expect(page.get_by_role("status").first).to_contain_text("строк")
    page.locator("#DownloadForStationForm .primary").click()
    wait_for(lambda: installation.sql("SELECT state FROM tksva_q.job") == [("done",)], 60)
    page.wait_for_timeout(1100)
    page.reload()
    expect(page.get_by_role("link", name="Скачать Ворсино")).to_be_visible()
    context.close()


def test_a_wrong_token_is_refused_and_the_right_one_lets_in(
    browser: Browser, start_web: Callable[..., Web], sql: Queries
) -> None:
    sql("INSERT INTO tksva_q.job (form, state, error, finished_at) VALUES ('f', 'failed', 'нет', now())")
    web = start_web(api_token=TOKEN)
    for password, allowed in (("wrong", False), (TOKEN, True)):
        context = browser.new_context(http_credentials={"username": "admin", "password": password})
        page = context.new_page()
        page.goto(web.url)
        page.get_by_role("button", name="Повторить задание").click()
        if allowed:
            expect(page.get_by_text("Ждут очереди")).to_be_visible()
            page.get_by_role("link", name="Войти").click()
            expect(page.get_by_role("button", name="Выйти")).to_be_visible()
        else:
            expect(page.get_by_role("heading", name="Нужен ключ")).to_be_visible()
            assert sql.value("SELECT state FROM tksva_q.job") == "failed"
        context.close()


def test_the_keyboard_reaches_everything(page: Page, installation: Installation) -> None:
    installation.sql("INSERT INTO tksva_q.job (form, state, error, finished_at) VALUES ('f', 'failed', 'нет', now())")
    page.goto(installation.web.url)
    reached: set[str] = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert {"К содержанию", "place", "start_date", "wish", "Повторить", "Повторить все", "Задания"} <= reached
    page.locator("#retry-1").focus()
    page.keyboard.press("Enter")
    wait_for(lambda: installation.sql.value("SELECT state FROM tksva_q.job") == "waiting", 60)


# --- the script -------------------------------------------------------------------------------------------------------


def test_a_page_that_was_refused_its_stream_listens_again(page: Page, web: Web, sql: Queries) -> None:
    """As while the web process is restarted behind a server that answers 502 for it."""
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=502, body="Bad Gateway") if len(asked) < 3 else route.continue_()

    page.route("**/api/events", refuse)
    page.goto(web.url)
    expect(page.locator("#away")).to_be_visible(timeout=60_000)
    expect(page.locator("#away")).to_be_hidden(timeout=60_000)
    assert len(asked) == 3
    sql("INSERT INTO tksva_q.job (form, file_name) VALUES ('f', 'новое.csv')")
    expect(page.get_by_text("новое.csv")).to_be_visible(timeout=60_000)


def test_what_is_being_typed_stays_while_a_list_beside_it_changes(
    page: Page, start_web: Callable[..., Web], sql: Queries, database: str
) -> None:
    migrate(database, workloads=["daily_reports"])
    page.goto(f"{start_web(integrations='daily_reports').url}/daily_reports")
    page.locator("#generate [name=start_date]").fill("2024-05-06")
    job = sql.value("INSERT INTO tksva_q.job (form) VALUES (%s) RETURNING id", NAME)
    expect(page.get_by_role("link", name=f"Задание {job}")).to_be_visible(timeout=60_000)
    expect(page.locator("#generate [name=start_date]")).to_have_value("2024-05-06")


def test_all_of_a_jobs_own_page_changes_with_it(page: Page, web: Web, sql: Queries) -> None:
    job = sql.value("INSERT INTO tksva_q.job (form, file_name) VALUES ('f', 'a.csv') RETURNING id")
    page.goto(f"{web.url}/jobs/{job}")
    expect(page.get_by_text("Ещё не начиналось.")).to_be_visible(timeout=60_000)
    sql(
        "INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, slot, outcome, reason, rows_before, rows_after,"
        " started_at, finished_at) VALUES (%s, 1, gen_random_uuid(), 'h', 0, 'failed', 'причина', 0, 0, now(), now())",
        job,
    )
    sql("UPDATE tksva_q.job SET state = 'failed', error = 'причина', attempt = 1, finished_at = now()")
    expect(page.locator("tbody tr")).to_have_count(1, timeout=60_000)
    expect(page.get_by_role("button", name="Повторить")).to_be_visible()
