"""The API of the reports: every call and every answer, to the letter."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import httpx
import openpyxl
import psycopg2.extensions
import pytest

import schema
from tests.daemons import Daemon
from tests.daily_reports.conftest import ON, Shop
from tests.database import Queries
from tests.described import try_all
from tests.waiting import wait_for
from tests.web.own_postgres import frozen, own_server
from tests.web.server import TOKEN, Web

__all__ = ["own_server"]

DAY = "2024-01-15"
#: Requests of each kind.
EXAMPLES = 40
START = Callable[..., Daemon]


def status(client: httpx.Client, task: str) -> dict[str, object]:
    return client.get(f"/report/status/{task}").json()


def await_done(client: httpx.Client, task: str) -> dict[str, object]:
    wait_for(lambda: status(client, task)["status"] == "done", 30, lambda: str(status(client, task)))
    return status(client, task)


def test_a_day_goes_from_the_request_to_its_rows(client: httpx.Client, shop: Shop, start_daemon: START) -> None:
    first, second = shop.order(f"{DAY} 10:00+00", 2, 3), shop.order(f"{DAY} 11:00+00", 4)
    answer = client.post("/report/generate", params={"report_date": DAY})
    assert answer.status_code == 202
    task = answer.json()["task_id"]
    assert isinstance(task, str)
    assert answer.json() == {
        "status": "scheduled",
        "message": "Генерация отчета за 2024-01-15 запланирована",
        "task_id": task,
        "date": "2024-01-15",
    }
    assert status(client, task)["status"] == "scheduled"
    start_daemon(**ON)
    assert await_done(client, task) == {
        "task_id": task,
        "status": "done",
        "message": "Генерация отчета за 2024-01-15: готово",
        "from": DAY,
        "to": DAY,
        "done": 1,
        "total": 1,
        "error": None,
    }
    rows = client.get("/report/", params={"report_date": DAY})
    assert rows.status_code == 200
    ids = [row["id"] for row in rows.json()]
    assert rows.json() == [
        {"id": ids[0], "report_at": DAY, "order_id": first, "count_product": 5},
        {"id": ids[1], "report_at": DAY, "order_id": second, "count_product": 4},
    ]


def test_a_day_without_a_report_is_an_empty_list(client: httpx.Client) -> None:
    answer = client.get("/report/", params={"report_date": DAY})
    assert (answer.status_code, answer.json()) == (200, [])


def test_each_day_of_a_period_is_made_by_one_task(client: httpx.Client, shop: Shop, start_daemon: START) -> None:
    shop.order("2024-02-28 10:00+00", 1)
    shop.order("2024-03-01 23:00+00", 2)
    shop.order("2024-03-02 00:00+00", 3)
    answer = client.post("/report/generate", params={"from": "2024-02-28", "to": "2024-03-01"})
    assert answer.status_code == 202
    task = answer.json()["task_id"]
    assert answer.json() == {
        "status": "scheduled",
        "message": "Генерация отчетов за 2024-02-28 — 2024-03-01 запланирована",
        "task_id": task,
        "from": "2024-02-28",
        "to": "2024-03-01",
        "days": 3,
    }
    start_daemon(**ON)
    assert await_done(client, task)["done"] == 3
    assert [(day, count) for day, _, count in shop.reports()] == [("2024-02-28", 1), ("2024-03-01", 2)]


def test_twenty_requests_at_once_end_as_one_report(
    client: httpx.Client, shop: Shop, sql: Queries, start_daemon: START
) -> None:
    shop.many(50, f"{DAY} 10:00+00")
    start_daemon(**ON, workers=3)
    with ThreadPoolExecutor(20) as threads:
        calls = threads.map(lambda _: client.post("/report/generate", params={"report_date": DAY}), range(20))
        answers = [answer.json() for answer in calls]
    for answer in answers:
        await_done(client, answer["task_id"])
    assert sql("SELECT count(*), sum(count_product) FROM reports") == [(50, 150)]


# --- pages and files --------------------------------------------------------------------------------------------------


def fill(sql: Queries, shop: Shop) -> None:
    shop.many(25, f"{DAY} 10:00+00")
    sql("INSERT INTO reports (report_at, order_id, count_product) SELECT '2024-01-15', id, id FROM orders")
    sql("INSERT INTO reports (report_at, order_id, count_product) SELECT '2024-01-16', id, 1 FROM orders LIMIT 3")


def test_all_reports_come_in_pages(client: httpx.Client, shop: Shop, sql: Queries) -> None:
    assert client.get("/report/all").json() == {
        "reports": [],
        "pagination": {"page": 1, "count": 10, "total": 0, "pages": 0},
    }
    fill(sql, shop)
    seen = []
    for page in range(1, 5):
        answer = client.get("/report/all", params={"page": page, "count": 10}).json()
        assert answer["pagination"] == {"page": page, "count": 10, "total": 28, "pages": 3}
        seen += [(row["report_at"], row["order_id"]) for row in answer["reports"]]
    assert seen == sql("SELECT report_at::text, order_id FROM reports ORDER BY report_at DESC, order_id")
    assert len(client.get("/report/all?count=1000").json()["reports"]) == 28
    assert client.get("/report/all").json()["pagination"]["count"] == 10


def test_a_day_is_downloaded_as_csv(client: httpx.Client, shop: Shop, sql: Queries) -> None:
    fill(sql, shop)
    answer = client.get("/report/download", params={"report_date": DAY, "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="report_2024-01-15.csv"' in answer.headers["content-disposition"]
    assert answer.content.startswith(b"\xef\xbb\xbf")
    header, *rows = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";")
    assert header == ["id", "report_at", "order_id", "count_product"]
    expected = sql("SELECT id, report_at, order_id, count_product FROM reports WHERE report_at = %s ORDER BY 3", DAY)
    assert rows == [[str(value) for value in row] for row in expected]


def test_a_day_is_downloaded_as_xlsx_with_real_values(client: httpx.Client, shop: Shop, sql: Queries) -> None:
    fill(sql, shop)
    answer = client.get("/report/download", params={"report_date": DAY, "format": "xlsx"})
    assert answer.headers["content-type"].startswith("application/vnd.openxmlformats")
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    assert sheet is not None
    header, *rows = sheet.iter_rows(values_only=True)
    assert header == ("id", "report_at", "order_id", "count_product")
    assert [(row[1], row[2:]) for row in rows] == [
        (datetime(2024, 1, 15), row)
        for row in sql("SELECT order_id, count_product FROM reports WHERE report_at = %s ORDER BY 1", DAY)
    ]


def test_a_day_without_a_report_is_a_file_with_a_header_only(client: httpx.Client) -> None:
    text = client.get("/report/download", params={"report_date": DAY}).content.decode("utf-8-sig")
    assert text == "id;report_at;order_id;count_product\n"
    book = client.get("/report/download", params={"report_date": DAY, "format": "xlsx"})
    sheet = openpyxl.load_workbook(io.BytesIO(book.content)).active
    assert sheet is not None
    assert sheet.max_row == 1


def test_the_dialect_of_csv_is_the_installations(shop: Shop, start_web: Callable[..., Web]) -> None:
    with start_web(**ON, csv_delimiter=",", csv_bom="off").client() as client:
        answer = client.get("/report/download", params={"report_date": DAY})
    assert answer.content == b"id,report_at,order_id,count_product\n"


# --- who may, and what if nobody answers ------------------------------------------------------------------------------


def test_generating_and_files_need_the_token_and_looking_does_not(shop: Shop, start_web: Callable[..., Web]) -> None:
    with start_web(**ON, api_token=TOKEN).client() as client:
        day = {"report_date": DAY}
        assert client.post("/report/generate", params=day).status_code == 401
        assert client.get("/report/download", params=day).status_code == 401
        assert client.post("/daily_reports", data={"start_date": DAY, "finish_date": DAY}).status_code == 401
        for path in ("/report/", "/report/all", "/daily_reports"):
            assert client.get(path, params=day).status_code == 200
        known = {"Authorization": b"Bearer " + TOKEN.encode()}
        assert client.post("/report/generate", params=day, headers=known).status_code == 202
        assert client.get("/report/download", params=day, headers=known).status_code == 200


def test_a_database_that_hangs_is_said_to_be_away_within_five_seconds(
    own_server: tuple[str, Path],
    tmp_path: Path,
) -> None:
    conninfo, folder = own_server
    schema.migrate(conninfo, workloads=["daily_reports"])
    web = Web(conninfo, tmp_path, **ON)
    with ExitStack() as after:
        after.callback(web.stop)
        web.await_answer()
        with web.client() as client:
            wait_for(lambda: client.get("/report/all").status_code == 200, 10)
            after.enter_context(frozen(folder))
            for method, path in (  # the first of them before anybody has noticed
                ("POST", f"/report/generate?report_date={DAY}"),
                ("GET", f"/report/?report_date={DAY}"),
                ("GET", "/report/all"),
                ("GET", "/report/status/1"),
                ("GET", f"/report/download?report_date={DAY}"),
                ("GET", "/daily_reports"),
            ):
                began = time.monotonic()
                answer = client.request(method, path)
                assert answer.status_code == 503, (path, answer.text)
                assert time.monotonic() - began < 5


def test_a_database_that_is_not_there_is_said_to_be_away(shop: Shop, tmp_path: Path) -> None:
    gone = psycopg2.extensions.make_dsn(shop.sql.conninfo, dbname="nowhere")
    web = Web(gone, tmp_path, **ON)
    try:
        web.await_answer()
        with web.client() as client:
            began = time.monotonic()
            assert client.post("/report/generate", params={"report_date": DAY}).status_code == 503
            assert client.get("/report/", params={"report_date": DAY}).status_code == 503
            assert time.monotonic() - began < 5
    finally:
        web.stop()


# --- the description --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)  # many requests, on a busy machine
def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(
    shop: Shop, sql: Queries, start_web: Callable[..., Web]
) -> None:
    fill(sql, shop)
    sql("INSERT INTO tksva_q.job (form, params) SELECT 'daily_report', '{}' FROM generate_series(1, 3)")
    assert try_all(start_web(**ON).url, "^/report", EXAMPLES) == {
        "POST /report/generate",
        "GET /report/",
        "GET /report/all",
        "GET /report/status/{task_id}",
        "GET /report/download",
    }
