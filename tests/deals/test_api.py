"""The calls: a deal comes in, the error queue is tried again; who may call, and what is answered when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from db import Database
from faults.bitrix import Bitrix
from integrations.deals import api
from tests.daemons import Daemon
from tests.database import Queries
from tests.deals.conftest import ON, await_states, fast, queue, states
from tests.deals.failures import fail
from tests.described import try_all
from tests.web.server import TOKEN, Web
from web.database import Pool

BEARER = {"Authorization": f"Bearer {TOKEN}".encode()}
NONE_LEFT = {"error_tasks_remaining": 0, "successful_tasks": 0, "message": "No tasks in error queue"}


@pytest.fixture
def client(deals: Database, start_web: Callable[..., Web]) -> Iterator[httpx.Client]:
    with start_web(**ON).client(timeout=60) as client:
        yield client


def test_a_deal_comes_in_and_the_same_one_again_is_no_second_one(client: httpx.Client, sql: Queries) -> None:
    for path in ("/CompanyRandom", "/CarexRandom", "/CarexRandom", "/CompanyRandom"):
        answer = client.post(f"{path}?deal_id=123&cont_id=456")
        assert answer.status_code == 200
        assert answer.text == '"processing_task: process_carex_random"'
    assert sql("SELECT deal_id, cont_id, state FROM tksva_q.deal") == [(123, 456, "waiting")]
    assert sql.value("SELECT params FROM tksva_q.job") == {"deal_id": 123, "cont_id": 456}


def test_what_is_no_integer_is_refused_and_the_parameter_named(client: httpx.Client, sql: Queries) -> None:
    for query, named in (
        ("cont_id=1", "deal_id"),
        ("deal_id=1", "cont_id"),
        ("deal_id=x&cont_id=1", "deal_id"),
        ("deal_id=1&cont_id=1.5", "cont_id"),
        (f"deal_id={2**63}&cont_id=1", "deal_id"),
        ("deal_id=0&cont_id=1", "deal_id"),
    ):
        answer = client.post(f"/CarexRandom?{query}")
        assert answer.status_code == 422
        assert named in answer.text
    assert states(sql) == {}


def test_fifty_failed_deals_are_done_within_one_answer_at_two_requests_a_second(
    client: httpx.Client, deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable[..., Daemon]
) -> None:
    queue(deals, *range(1, 51))
    fail(sql, *range(1, 51))
    start_daemon(**fast(bitrix, bitrix_rate=2))
    assert client.get("/retry-errors").json() == {
        "error_tasks_remaining": 0,
        "successful_tasks": 50,
        "message": "Processed 50 tasks from error queue",
    }
    assert states(sql) == {"done": 50}
    assert bitrix.busiest() <= 2
    assert client.post("/retry-errors").json() == NONE_LEFT
    assert client.get("/retry-errors").json() == NONE_LEFT


def test_what_fails_again_is_what_is_left(
    client: httpx.Client, deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable[..., Daemon]
) -> None:
    bitrix.absent = {2, 4}
    queue(deals, 1, 2, 3, 4, 5)
    fail(sql, 1, 2, 3, 4, 5)
    start_daemon(**fast(bitrix))
    assert client.post("/retry-errors").json() == {
        "error_tasks_remaining": 2,
        "successful_tasks": 3,
        "message": "Processed 3 tasks from error queue",
    }
    assert [error for (error,) in sql("SELECT error FROM tksva_q.deal WHERE state = 'failed'")] == [
        'crm.deal.update: 400 {"error": "", "error_description": "Not found"}'
    ] * 2


def test_callers_at_the_same_time_retry_each_deal_once(
    client: httpx.Client, deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable[..., Daemon]
) -> None:
    queue(deals, *range(1, 41))
    fail(sql, *range(1, 41))
    start_daemon(**fast(bitrix, workers=2))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.post("/retry-errors").json(), range(4)))
    assert sum(answer["successful_tasks"] for answer in answers) == 40
    assert [answer["error_tasks_remaining"] for answer in answers] == [0, 0, 0, 0]
    await_states(sql, done=40)
    assert sql("SELECT DISTINCT attempt FROM tksva_q.job") == [(2,)]
    assert sorted(bitrix.called("crm.deal.update")) == list(range(1, 41))


def test_the_answer_does_not_wait_for_ever_and_tells_what_is_left(
    deals: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.ANSWER_SECONDS == 25
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.5)
    queue(deals, 1, 2, 3)
    fail(sql, 1, 2)
    context = SimpleNamespace(pool=Pool(lambda: deals.conninfo, lambda: None))
    began = time.monotonic()
    answer = asyncio.run(api.retry_errors(context))  # type: ignore[arg-type]  # the part of it that is used
    assert time.monotonic() - began >= 0.5
    assert answer.model_dump() == {
        "error_tasks_remaining": 2,
        "successful_tasks": 0,
        "message": "Processed 0 tasks from error queue",
    }


# --- who may ----------------------------------------------------------------------------------------------------------


def test_whatever_changes_something_needs_the_token(
    deals: Database, sql: Queries, start_web: Callable[..., Web]
) -> None:
    queue(deals, 1)
    fail(sql, 1)
    calls = [
        ("GET", "/retry-errors"),
        ("POST", "/retry-errors"),
        ("POST", "/CarexRandom?deal_id=2&cont_id=2"),
        ("POST", "/CompanyRandom?deal_id=2&cont_id=2"),
        ("POST", "/deals/retry"),
        ("POST", "/deals/1/retry"),
    ]
    with start_web(**ON, api_token=TOKEN).client() as client:
        for method, path in calls:
            assert client.request(method, path).status_code == 401
        assert client.get("/retry-errors", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert states(sql) == {"failed": 1}
        assert client.post(calls[2][1], headers=BEARER).status_code == 200
        assert client.get("/deals").status_code == 200
    assert states(sql) == {"failed": 1, "waiting": 1}


def test_a_foreign_page_cannot_have_a_browser_retry(client: httpx.Client, deals: Database, sql: Queries) -> None:
    queue(deals, 1)
    fail(sql, 1)
    for method in ("GET", "POST"):
        for header in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://example.org"}):
            assert client.request(method, "/retry-errors", headers=header).status_code == 403
    assert states(sql) == {"failed": 1}


def test_without_its_database_a_call_is_answered_503_and_counted(client: httpx.Client, sql: Queries) -> None:
    call = "/CarexRandom?deal_id=1&cont_id=1"
    sql("ALTER TABLE tksva_q.deal RENAME TO away")
    assert [client.post(call).status_code, client.post("/retry-errors").status_code] == [503, 503]
    sql("ALTER TABLE tksva_q.away RENAME TO deal")
    assert client.post(call).status_code == 200
    assert "company_redis_errors_total 2.0" in client.get("/metrics").text
    assert sql.value("SELECT number FROM tksva_q.deal_counter WHERE name = 'broker'") == 2


def test_no_request_finds_a_failure_or_an_answer_that_is_not_described(
    deals: Database, start_web: Callable[..., Web]
) -> None:
    web = start_web(**ON)
    tried = try_all(web.url, "Random$|^/retry-errors$", examples=20)
    assert tried == {"POST /CarexRandom", "POST /CompanyRandom", "GET /retry-errors", "POST /retry-errors"}
