"""The connection to ClickHouse: TLS, rights, lost servers, and queries that end with their job."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from dwh import Equals, Extract, Page
from dwh_clickhouse import ClickHouseWarehouse
from errors import StorageError, WarehouseError
from faults.clickhouse import Server, click_settings, server, slow, table
from tests.clickhouse_fixtures import clickhouse, warehouse
from tests.waiting import BUSY, wait_for
from tests.warehouses import PLAIN, csv_of

__all__ = ["clickhouse", "warehouse"]  # fixtures


@pytest.mark.parametrize("verify", [True, False])
def test_a_strangers_certificate_is_refused_unless_nobody_asks(clickhouse: Server, *, verify: bool) -> None:
    keys = {"click_port": clickhouse.secure, "click_secure": True, "click_verify": verify}
    opened = ClickHouseWarehouse(click_settings(clickhouse, **keys))
    table(clickhouse, "tls", "k UInt8, a String", "SELECT 1, 'a'")
    if verify:
        with pytest.raises(WarehouseError, match=r"CERTIFICATE|certificate"):
            opened.count(Extract("tls", ()))
    else:
        assert csv_of(opened, "tls") == b"a\na\n"
    opened.close()


def test_a_user_who_may_change_no_settings_reads_all_the_same(clickhouse: Server) -> None:
    opened = ClickHouseWarehouse(click_settings(clickhouse, click_user="reader"))
    table(clickhouse, "reading", "k UInt8, a String", "SELECT 1, 'a'")
    assert csv_of(opened, "reading") == b"a\na\n"
    opened.close()


def test_a_wrong_password_is_told_without_it(clickhouse: Server) -> None:
    opened = ClickHouseWarehouse(click_settings(clickhouse, click_pwd="неверный"))
    with pytest.raises(WarehouseError) as told:
        opened.columns("t")
    assert "\n" not in str(told.value)
    assert "неверный" not in str(told.value)


def test_a_server_that_goes_is_told_and_the_next_call_connects_anew(tmp_path: Path) -> None:
    with server(tmp_path) as own:
        opened = ClickHouseWarehouse(click_settings(own))
        table(own, "t", "k UInt32, a String", "SELECT number, toString(cityHash64(number)) FROM numbers(200000)")
        columns = opened.columns("t")
        with pytest.raises(WarehouseError):
            opened.csv_page(Extract("t", ()), columns, 0, 200_000, PLAIN, lambda _: own.stop())
        with pytest.raises(WarehouseError):
            opened.count(Extract("t", ()))
        own.start()
        assert opened.count(Extract("t", ())) == 200_000
        opened.close()


def test_the_time_limit_of_a_job_ends_its_query_in_the_server(clickhouse: Server) -> None:
    opened = ClickHouseWarehouse(click_settings(clickhouse, job_timeout=1))
    name = slow(clickhouse)
    began = time.monotonic()
    with pytest.raises(WarehouseError, match="Timeout"):
        opened.count(Extract(name, (Equals("a", "1"),)))
    assert time.monotonic() - began < 2 * BUSY
    wait_for(lambda: not clickhouse.running("`slow`"))
    opened.close()


def test_what_the_writer_raises_passes_through_and_the_query_ends(
    clickhouse: Server, warehouse: ClickHouseWarehouse
) -> None:
    table(clickhouse, "long", "k UInt32, a String", "SELECT number, toString(cityHash64(number)) FROM numbers(300000)")
    columns = warehouse.columns("long")

    def write(_: bytes) -> None:
        raise StorageError("disk full")

    with pytest.raises(StorageError):
        warehouse.cells_page(Extract("long", ()), columns, 0, 300_000, write)
    assert warehouse.csv_page(Extract("long", ()), columns, 0, 2, PLAIN, io.BytesIO().write) == Page(2, 1 + 1)
    wait_for(lambda: not clickhouse.running("`long`"))
