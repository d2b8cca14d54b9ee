"""ClickHouse gets what PostgreSQL has, once, also after an outage; the statements that users know work on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from db import Database
from integrations.timers import definitions, journal, outbox
from jobs import Fence
from tests.clickhouse_server import PASSWORD, Server, server
from tests.conftest import Queries
from tests.timers.test_timers import LAST_RUNS, STATISTICS


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


def test_an_outage_loses_nothing_and_both_stores_answer_alike(
    queue: Database, sql: Queries, clickhouse: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CH_HOST", "127.0.0.1")
    monkeypatch.setenv("CH_PORT", str(clickhouse.port))
    monkeypatch.setenv("CH_PASSWORD", PASSWORD)
    settings = definitions.options()

    def run(number: int, status: str, rows: int | None) -> None:
        fence = Fence(number, 1, "00000000-0000-0000-0000-000000000000")
        with queue.transaction() as cursor:
            journal.begin(cursor, fence, "one", "loader")
        with queue.transaction() as cursor:
            journal.end(cursor, fence, status, rows=rows, message="да; 'нет'")  # type: ignore[arg-type]

    for number in range(3):
        run(number, "success", number)
    assert outbox.drain(queue, settings) == 6
    clickhouse.stop()
    run(3, "error", None)
    sql("INSERT INTO zakaz.alerts (job, alert_type, title, message) VALUES ('loader', 'error', 't', 'm')")
    assert outbox.drain(queue, settings) == 0
    assert sql.value("SELECT count(*) FROM tksva_q.timer_outbox") == 3
    clickhouse.start()
    assert outbox.drain(queue, settings) == 3
    for own in (STATISTICS, "SELECT job, status, rows_processed, message FROM zakaz.meta_job_runs ORDER BY started_at"):
        here = [tuple(float(v) if v.__class__.__name__ == "Decimal" else v for v in row) for row in sql(own)]
        assert sorted(map(str, here)) == sorted(map(str, clickhouse.run(own)))
    assert len(clickhouse.run(LAST_RUNS)) == len(sql(LAST_RUNS)) == 4
    assert clickhouse.run("SELECT job, alert_type, acknowledged FROM zakaz.alerts") == [("loader", "error", 0)]


def test_without_clickhouse_nothing_piles_up(queue: Database, sql: Queries) -> None:
    sql("INSERT INTO zakaz.alerts (job, alert_type, title, message) VALUES ('loader', 'error', 't', 'm')")
    outbox.drain(queue, definitions.options())
    assert sql.value("SELECT count(*) FROM tksva_q.timer_outbox") == 0
