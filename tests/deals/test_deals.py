"""Deals among managers, against a stand-in for Bitrix24."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

import schema
from db import Database
from integrations.deals import book, draw
from tests.conftest import Queries, wait_for
from tests.deals.bitrix import SECRET, Bitrix
from tests.web.conftest import start_web  # noqa: F401 -- a fixture

ON = {"integrations": "deals"}


@pytest.fixture
def bitrix() -> Iterator[Bitrix]:
    server = Bitrix()
    yield server
    server.stop()


@pytest.fixture
def deals(database: str) -> Iterator[Database]:
    schema.migrate(database, workloads=["deals"])
    opened = Database(database, "test")
    with opened.transaction() as cursor:
        for number in range(1, 7):
            book.add(cursor, str(number), f"Менеджер {number}")
    yield opened
    opened.close()


def fast(bitrix: Bitrix, **changed: object) -> dict[str, object]:
    return ON | {
        "webhook_carex": bitrix.url,
        "bitrix_rate": 500,
        "bitrix_pause": 0.01,
        "bitrix_attempts": 3,
        "bitrix_timeout": 1,
        "log_level": "DEBUG",
        **changed,
    }


def queue(deals: Database, numbers: range) -> None:
    with deals.transaction() as cursor:
        for number in numbers:
            book.queue(cursor, number, 1000 + number)


def await_states(sql: Queries, **wanted: int) -> None:
    def states() -> dict:
        return dict(sql("SELECT state, count(*) FROM tksva_q.deal GROUP BY 1"))

    wait_for(lambda: states() == wanted, 60, lambda: str(states()))


def test_the_draw_is_uniform_and_a_seed_makes_it_repeatable(deals: Database) -> None:
    def firsts(rounds: int, seed: int) -> list[str]:
        source, found = random.Random(seed), []  # noqa: S311 -- repeatable
        with deals.transaction(60) as cursor:
            for _ in range(rounds):
                cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = false")
                found.append(draw.draw(cursor, source))
        return found

    assert firsts(20, 7) == firsts(20, 7)
    counts = Counter(firsts(10_000, 1))
    expected = 10_000 / 6
    assert len(counts) == 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 20.5  # p = 0.001, 5 degrees


def test_a_new_round_calls_nobody_back_from_leave(deals: Database) -> None:
    with deals.transaction() as cursor:
        book.exclude(cursor, "3", True)
        for _ in range(4):
            drawn = [draw.draw(cursor, random.SystemRandom()) for _ in range(5)]
            assert sorted(map(str, drawn)) == ["1", "2", "4", "5", "6"]


def test_kills_leave_every_manager_the_same_number(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable
) -> None:
    settings = fast(bitrix, workers=2, heartbeat_seconds=0.3, bitrix_rate=60)
    queue(deals, range(1, 61))
    for kills in range(1, 4):
        daemon = start_daemon(**settings)
        wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.deal WHERE state = 'done'") >= kills * 5, 30)  # noqa: B023
        daemon.kill()
    start_daemon(**settings)
    await_states(sql, done=60)
    assert Counter(bitrix.deals.values()) == {str(number): 10 for number in range(1, 7)}
    assert all(bitrix.contacts[1000 + deal] == person for deal, person in bitrix.deals.items())


def test_a_contact_that_has_somebody_keeps_them(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable
) -> None:
    bitrix.contacts[1001] = "77"
    queue(deals, range(1, 2))
    start_daemon(**fast(bitrix))
    await_states(sql, done=1)
    assert [method for _, method, _ in bitrix.log] == ["crm.contact.get", "crm.deal.update"]
    assert bitrix.deals == {1: "77"}


def test_a_deal_waits_while_everybody_is_on_leave(
    deals: Database, sql: Queries, bitrix: Bitrix, start_daemon: Callable
) -> None:
    with deals.transaction() as cursor:
        for number in range(1, 7):
            book.exclude(cursor, str(number), True)
    queue(deals, range(1, 2))
    start_daemon(**fast(bitrix))
    wait_for(lambda: sql("SELECT id FROM tksva_q.job WHERE state = 'waiting' AND error = 'no available users'"))
    assert sql.value("SELECT spent FROM tksva_q.job") == 0
    with deals.transaction() as cursor:
        book.exclude(cursor, "4", False)
    await_states(sql, done=1)
    assert bitrix.deals == {1: "4"}


def test_what_goes_wrong_is_tried_again_then_failed_and_the_secret_is_nowhere(
    deals: Database,
    sql: Queries,
    bitrix: Bitrix,
    start_daemon: Callable,
    start_web: Callable,  # noqa: F811
) -> None:
    faults = {1: "429", 2: "500", 3: "limit", 4: "half", 5: "nothing", 6: "slow"}
    bitrix.fault = lambda method, number: faults.get(number, "") if method == "crm.deal.update" else ""
    daemon = start_daemon(**fast(bitrix))
    web = start_web(**fast(bitrix))
    with web.client() as client:
        for number in range(1, 8):
            for path in ("/CarexRandom", "/CompanyRandom"):
                answer = client.post(path, params={"deal_id": number, "cont_id": 1000 + number})
                assert (answer.status_code, answer.json()) == (200, "processing_task: process_carex_random")
        assert client.post("/CarexRandom", params={"deal_id": "x", "cont_id": 1}).status_code == 422
        await_states(sql, failed=6, done=1)
        assert Counter(number for _, method, number in bitrix.log if method == "crm.deal.update")[1] in {3, 6}
        shown = client.get("/deals").text + client.get("/metrics").text
        for line in (
            'company_tasks_processed_total{status="successful"} 1.0',
            "company_tasks_in_queue 0.0",
            "company_tasks_in_queue_errors 6.0",
            "company_redis_errors_total 0.0",
            "company_task_processing_time_second_count",
            "company_bitrix_errors_total",
        ):
            assert line in shown
        kept = str(sql("SELECT error FROM tksva_q.job")) + str(sql("SELECT reason FROM tksva_q.attempt"))
        assert "QUERY_LIMIT_EXCEEDED" in kept
        bitrix.fault = lambda _method, _number: ""
        assert client.get("/retry-errors").json() == {
            "error_tasks_remaining": 0,
            "successful_tasks": 6,
            "message": "Processed 6 tasks from error queue",
        }
        assert client.post("/retry-errors").json()["message"] == "No tasks in error queue"
    for text in (shown, kept, "\n".join(web.lines), "\n".join(daemon.lines)):
        assert SECRET not in text
