"""Errors of the broker: counted whoever met them, written down as soon as that can be done."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2.extensions
import pytest

from db import Database, DatabaseAway
from faults.bitrix import Bitrix
from integrations.deals import broker
from tests.daemons import Daemon
from tests.database import Queries
from tests.deals.conftest import await_states, fast, queue
from tests.waiting import wait_for
from tests.web.server import Web


def written(sql: Queries) -> int:
    return int(sql.value("SELECT number FROM tksva_q.deal_counter WHERE name = 'broker'"))


def test_what_fails_because_the_database_is_away_is_counted(deals: Database, sql: Queries) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseAway), broker.counting(deals):
            raise DatabaseAway("gone")
    assert (written(sql), broker.unwritten()) == (2, 0)


def test_what_fails_otherwise_and_what_does_not_is_not(deals: Database, sql: Queries) -> None:
    with pytest.raises(ZeroDivisionError), broker.counting(deals):
        1 / 0  # noqa: B018
    with broker.counting(deals):
        pass
    assert (written(sql), broker.unwritten()) == (0, 0)


def test_what_cannot_be_written_down_is_kept_until_it_can(deals: Database, sql: Queries) -> None:
    nowhere = Database(psycopg2.extensions.make_dsn(deals.conninfo, host="/nowhere"), "test")
    for _ in range(3):
        with pytest.raises(DatabaseAway), broker.counting(nowhere), nowhere.statement() as cursor:
            cursor.execute("SELECT 1")
    assert (written(sql), broker.unwritten()) == (0, 3)
    with broker.counting(deals):
        pass
    assert (written(sql), broker.unwritten()) == (3, 0)


def test_a_worker_that_loses_its_connection_counts_it_and_the_deal_is_done_all_the_same(
    deals: Database,
    sql: Queries,
    bitrix: Bitrix,
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],
) -> None:
    terminated: list[int] = []

    def terminate(method: str, _number: int) -> None:
        if method == "crm.deal.update" and not terminated:
            terminated.append(
                sql.value(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'tksva_q child%%' AND datname = current_database()"
                )
            )

    bitrix.before = terminate
    start_daemon(**fast(bitrix))
    queue(deals, 1)
    await_states(sql, done=1)
    assert terminated == [1]
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    wait_for(lambda: written(sql) >= 1)
    with start_web(**fast(bitrix)).client() as client:
        assert f"company_redis_errors_total {written(sql)}.0" in client.get("/metrics").text
