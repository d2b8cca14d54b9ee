"""Fixtures of ClickHouse's tests: Debian's server and today's dialect, one of each a file, and warehouses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dwh_clickhouse import ClickHouseWarehouse
from faults.clickhouse import Server, Today, click_settings, server
from settings import Settings


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as started:
        started.run("CREATE DATABASE audit")
        yield started


@pytest.fixture(scope="session")
def today(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Today]:
    started = Today(tmp_path_factory.mktemp("chdb"))
    yield started
    started.stop()


@pytest.fixture
def warehouse(clickhouse: Server) -> Iterator[ClickHouseWarehouse]:
    opened = ClickHouseWarehouse(click_settings(clickhouse))
    yield opened
    opened.close()


@pytest.fixture
def todays(today: Today) -> Iterator[ClickHouseWarehouse]:
    opened = ClickHouseWarehouse(Settings(click_host="nowhere"))
    opened._client = today
    yield opened
    opened.close()
