"""The tables of the deals come and go, twice in a row, and a step back keeps what there was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command

import schema
from db import Database
from integrations.deals import book
from tests.database import Queries
from tests.deals.conftest import MakeTask, queue, settle

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'tksva_q' AND tablename LIKE 'deal%%'"


@pytest.fixture
def empty(empty_database: str) -> Iterator[Queries]:
    queries = Queries(empty_database)
    yield queries
    queries.close()


def test_the_tables_come_and_go_twice_in_a_row(empty: Queries) -> None:
    for _ in range(2):
        schema.migrate(empty.conninfo, workloads=["deals"])
        schema.migrate(empty.conninfo, workloads=["deals"])
        assert empty.value(TABLES) == 4
        with Database(empty.conninfo, "test").transaction() as cursor:
            assert schema.outdated(cursor, ["deals"]) == []
            book.add(cursor, "1", "Менеджер")
            book.queue(cursor, 1, 2)
        schema.migrate(empty.conninfo, "base")
        assert empty.value(TABLES) == 0


def test_a_step_back_and_forth_keeps_the_deals(deals: Database, sql: Queries, make_task: MakeTask) -> None:
    queue(deals, 1, 2)
    sql("UPDATE tksva_q.deal SET user_id = '3', why = 'draw', deal_sent = true, deal_updated = true WHERE deal_id = 1")
    settle(make_task())
    config = schema.alembic_config(deals.conninfo, "deals")
    for _ in range(2):
        command.downgrade(config, "0001")
        command.upgrade(config, "head")
    assert sql("SELECT deal_id, state, user_id, served FROM tksva_q.deal ORDER BY 1") == [
        (1, "done", "3", True),
        (2, "waiting", None, False),
    ]
