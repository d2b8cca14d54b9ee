"""What the tests of the reports share: a shop with orders, and the web process and the queue that know it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import jobs
import leases
import queueing
import schema
from db import Database
from integrations.daily_reports import NAME
from tasks import Task
from tests.daemons import make_settings
from tests.database import Queries
from tests.web.conftest import start_web
from tests.web.server import Web

__all__ = ["start_web"]

ON = {"integrations": "daily_reports"}
ROWS = "SELECT report_at::text, order_id, count_product FROM reports ORDER BY report_at, order_id"


class Shop:
    """Whoever the given tables belong to."""

    def __init__(self, sql: Queries) -> None:
        self.sql = sql

    def order(self, created_at: str, *quantities: int | None) -> int:
        """Take an order; `created_at` as the database reads it."""
        order = int(self.sql.value("INSERT INTO orders (created_at) VALUES (%s) RETURNING id", created_at))
        for quantity in quantities:
            self.sql("INSERT INTO order_items (order_id, quantity) VALUES (%s, %s)", order, quantity)
        return order

    def many(self, count: int, created_at: str) -> None:
        """Take orders of two items each, a quantity of 3 in all."""
        self.sql(
            "WITH taken AS (INSERT INTO orders (created_at) SELECT %s FROM generate_series(1, %s) RETURNING id)"
            " INSERT INTO order_items (order_id, quantity) SELECT id, n FROM taken, generate_series(1, 2) n",
            created_at,
            count,
        )

    def reports(self) -> list[tuple[str, int, int]]:
        return self.sql(ROWS)  # type: ignore[return-value]


@pytest.fixture
def shop(database: str, sql: Queries) -> Shop:
    schema.migrate(database, workloads=["daily_reports"])
    return Shop(sql)


@pytest.fixture
def client(shop: Shop, start_web: Callable[..., Web]) -> Iterator[httpx.Client]:
    with start_web(**ON).client() as client:
        yield client


@pytest.fixture
def make_task(shop: Shop, database: str, tmp_path: Path) -> Iterator[Callable[..., Task]]:
    """Queue a job of these params and claim it, over a connection of its own."""
    connections: list[Database] = []
    me = leases.Worker.this_process(600)
    slots = itertools.count()

    def make(stopping: Callable[[], bool] = lambda: False, **params: object) -> Task:
        own = Database(database, "test task")
        connections.append(own)
        with own.transaction() as cursor:
            me.renew(cursor)
            queueing.submit(cursor, NAME, params)
            job = jobs.claim(cursor, me.id, next(slots))
        assert job is not None
        return Task(job, make_settings(database, tmp_path), own, lambda: None, stopping)  # type: ignore[arg-type, return-value]

    yield make
    for connection in connections:
        connection.close()
