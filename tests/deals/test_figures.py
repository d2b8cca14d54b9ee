"""The six metrics: right after a mix of good and bad, whichever process worked, and after restarts."""

from __future__ import annotations

from collections.abc import Callable

from db import Database
from faults.bitrix import Bitrix
from tests.daemons import Daemon
from tests.database import Queries
from tests.deals.conftest import await_states, fast, queue
from tests.web.server import Web


def figures(web: Web) -> dict[str, float]:
    with web.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("company"))}


def test_all_six_are_there_from_the_beginning(deals: Database, bitrix: Bitrix, start_web: Callable[..., Web]) -> None:
    queue(deals, 1, 2)
    assert figures(start_web(**fast(bitrix))) == {
        'company_tasks_processed_total{status="successful"}': 0,
        'company_tasks_processed_total{status="failed"}': 0,
        "company_task_processing_time_second_count": 0,
        "company_task_processing_time_second_sum": 0,
        "company_tasks_in_queue": 2,
        "company_tasks_in_queue_errors": 0,
        "company_redis_errors_total": 0,
        "company_bitrix_errors_total": 0,
    }


def test_they_count_what_all_processes_did(
    deals: Database,
    sql: Queries,
    bitrix: Bitrix,
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],
) -> None:
    bad = {3, 6, 9, 12}
    bitrix.fault = lambda method, number: "500" if method == "crm.deal.update" and number in bad else ""
    bitrix.pause = 0.05
    settings = fast(bitrix, workers=3, bitrix_batch=1)
    web = start_web(**settings)
    daemon = start_daemon(**settings)
    queue(deals, *range(1, 13))
    await_states(sql, done=8, failed=4)
    assert sql.value("SELECT count(DISTINCT slot) FROM tksva_q.attempt") > 1
    daemon.kill()
    first = figures(web)
    seconds = first.pop("company_task_processing_time_second_sum")
    assert 12 * 0.05 < seconds < 600
    assert first == {
        'company_tasks_processed_total{status="successful"}': 8,
        'company_tasks_processed_total{status="failed"}': 4,
        "company_task_processing_time_second_count": 12,
        "company_tasks_in_queue": 0,
        "company_tasks_in_queue_errors": 4,
        "company_redis_errors_total": 0,
        "company_bitrix_errors_total": 12,
    }
    bad.clear()
    start_daemon(**settings)
    queue(deals, 3, 6, 20)
    await_states(sql, done=11, failed=2)
    second = figures(web)
    assert second.pop("company_task_processing_time_second_sum") > seconds
    assert second == {
        'company_tasks_processed_total{status="successful"}': 11,
        'company_tasks_processed_total{status="failed"}': 4,
        "company_task_processing_time_second_count": 15,
        "company_tasks_in_queue": 0,
        "company_tasks_in_queue_errors": 2,
        "company_redis_errors_total": 0,
        "company_bitrix_errors_total": 12,
    }
