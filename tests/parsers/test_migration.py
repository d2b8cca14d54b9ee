"""The tables of the parser manager come and go with the schema, and refuse what cannot be."""

from __future__ import annotations

import psycopg2
import pytest
from alembic import command

import schema
from tests.database import Queries
from tests.parsers.conftest import SOURCES, Parsers

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'parsers' ORDER BY 1"


def test_the_tables_come_and_go_twice_in_a_row(empty_database: str) -> None:
    for _ in range(2):
        schema.migrate(empty_database, workloads=["parsers"])
        queries = Queries(empty_database)
        assert [name for (name,) in queries(TABLES)] == [
            *("consumed", "counter", "outbox", "refused", "sending", "source", "source_task_type"),
            *("task", "task_count", "task_group", "task_type"),
        ]
        queries(SOURCES)
        queries.close()
        schema.migrate(empty_database, "base")
        queries = Queries(empty_database)
        assert queries(TABLES) == []
        assert queries("SELECT 1 FROM pg_namespace WHERE nspname = 'parsers'") == []
        queries.close()


def test_a_step_back_and_forth_counts_what_there_is(parsers: Parsers, sql: Queries) -> None:
    parsers.tasks(3)
    config = schema.alembic_config(sql.conninfo, "parsers")
    for _ in range(2):
        command.downgrade(config, "0001")
        sql("UPDATE parsers.task SET status = 'sent' WHERE id = (SELECT min(id::text)::uuid FROM parsers.task)")
        command.upgrade(config, "head")
        assert sql("SELECT * FROM parsers.task_count ORDER BY 1") == [("created", "rss", 2), ("sent", "rss", 1)]


@pytest.mark.parametrize(
    "impossible",
    [
        "UPDATE parsers.task SET status = 'lost'",
        "UPDATE parsers.source SET type = 'telegram'",
        "UPDATE parsers.source SET settings = '[]'",
        "UPDATE parsers.task_type SET interval_seconds = 0",
        "UPDATE parsers.source_task_type SET interval_seconds = -1",
    ],
)
def test_what_cannot_be_is_refused_by_the_database(parsers: Parsers, sql: Queries, impossible: str) -> None:
    parsers.tasks(1)
    with pytest.raises(psycopg2.errors.CheckViolation):
        sql(impossible)
