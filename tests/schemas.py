"""What is in a database: the web UI's tables, and the queue's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import schema
from tests.database import Queries

#: The web UI's tables, as its own migrations make them.
WEB_UI = """
CREATE TABLE "user" (id serial PRIMARY KEY, username varchar(64), email varchar(120), password_hash varchar(256),
    about_me varchar(140), last_seen timestamp);
CREATE UNIQUE INDEX ix_user_username ON "user" (username);
CREATE UNIQUE INDEX ix_user_email ON "user" (email);
CREATE TABLE post (id serial PRIMARY KEY, user_id integer REFERENCES "user" (id), form_name varchar(140),
    conditions json, task_status varchar(140), file_to_download varchar(140), task_status_timestamp timestamp,
    timestamp timestamp);
CREATE INDEX ix_post_timestamp ON post (timestamp);
CREATE TABLE dwh_tables_info (dwh_table_name varchar(140) PRIMARY KEY, table_info json, timestamp timestamp,
    wants_to_refresh boolean, wants_to_refresh_timestamp timestamp, gives_information boolean,
    gives_information_timestamp timestamp);
"""

#: What a later version of the web UI may add, and somebody who has come to it.
LATER = """
ALTER TABLE post ADD added_later text DEFAULT 'kept';
INSERT INTO "user" (username) VALUES ('somebody');
"""

WEB_UI_TABLES = {"public.user", "public.post", "public.dwh_tables_info"}
OWN_TABLES = {
    f"tksva_q.{name}"
    for name in (
        *("alembic_version", "worker", "job", "attempt", "page", "download", "counter", "hour", "announcement"),
        *("schedule", "slot"),
        *("service", "service_instance"),
        "dispatch",
    )
}
HELPERS = {"tksva_q_waiting", "tksva_q_prepared", "tksva_q_clicked", "tksva_q_living"}


@pytest.fixture
def empty(empty_database: str) -> Iterator[Queries]:
    queries = Queries(empty_database)
    yield queries
    queries.close()


def tables(queries: Queries) -> set[str]:
    return {
        f"{schema}.{name}"
        for schema, name in queries(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
    }


def traces(queries: Queries) -> set[str]:
    """Everything in the database that carries the queue's name."""
    return {
        row[0]
        for row in queries(
            "SELECT relname FROM pg_class WHERE relname LIKE 'tksva_q%' UNION SELECT tgname FROM pg_trigger"
            " WHERE tgname LIKE 'tksva_q%' UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tksva_q%'"
        )
    }


def columns(queries: Queries) -> list[tuple[object, ...]]:
    return queries(
        "SELECT table_name, column_name, data_type, character_maximum_length, column_default, is_nullable"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )


def version(queries: Queries) -> str | None:
    with queries.connection.cursor() as cursor:
        return schema.current(cursor)
