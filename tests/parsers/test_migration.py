"""The tables of the parser manager come and go with the schema, and refuse what cannot be."""

from __future__ import annotations

import psycopg2
import pytest

import schema
from tests.database import Queries
from tests.parsers.conftest import SOURCES, Parsers

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'parsers' ORDER BY 1"


def test_up_and_down_twice_in_a_row(empty_database: str) -> None:
    for _ in range(2):
        schema.migrate(empty_database, workloads=["parsers"])
        queries = Queries(empty_database)
        assert [name for (name,) in queries(TABLES)] == [
            *("consumed", "counter", "outbox", "refused", "sending", "source", "source_task_type"),
            *("task", "task_group", "task_type"),
        ]
        queries(SOURCES)
        queries.close()
        schema.migrate(empty_database, "base")
        queries = Queries(empty_database)
        assert queries(TABLES) == []
        assert queries("SELECT 1 FROM pg_namespace WHERE nspname = 'parsers'") == []
        queries.close()


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
