"""A test's own view of a database, and the small warehouse in it."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions

from tests.waiting import PATIENCE, wait_for

TABLE = "audit._sales__execution_orders"
#: Rows of the small warehouse; "Тайшет" has a third of them.
WAREHOUSE_ROWS = 3000


WAREHOUSE = f"""
CREATE SCHEMA audit;
CREATE TABLE audit._sales__execution_orders AS
SELECT g::bigint AS rownumber,
       (ARRAY['Тайшет', 'Лена', 'Чита "1"'])[g % 3 + 1] AS "Ст. Отправления",
       (ARRAY['В-СИБ', 'ЗАБ'])[g % 2 + 1] AS "Дор. Отправления",
       timestamp '2024-01-01' + (g % 60) * interval '1 day' + (g % 24) * interval '1 hour' AS "SVOD.Дата отправки",
       'КОНТ' || lpad((g * 7919 % 10000000)::text, 7, '0') AS "№ контейнера",
       (g % 1000)::int AS "Кол-во, шт.",
       ((g * 37) % 100000 / 100.0)::numeric(12, 2) AS "Сумма, %",
       CASE WHEN g % 7 = 0 THEN NULL ELSE 'текст; "в кавычках" ' || g END AS "Примечание",
       (date '2024-01-01' + (g % 60)::int) AS "Дата",
       g % 2 = 0 AS "Порожний"
FROM generate_series(1, {WAREHOUSE_ROWS}) g;
ALTER TABLE audit._sales__execution_orders ADD PRIMARY KEY (rownumber);
ANALYZE audit._sales__execution_orders;
INSERT INTO "user" (id, username, email) VALUES (1, 'user1', 'user1@example.org'), (2, 'user2', 'user2@example.org');
INSERT INTO dwh_tables_info VALUES ('{TABLE}',
    '{{"rows_qty": {WAREHOUSE_ROWS}, "min_date": "2024-01-01", "max_date": "2024-02-29",
       "railway_names": "В-СИБ|ЗАБ", "station_names": "Тайшет|Лена|Чита \\"1\\""}}',
    localtimestamp, false, localtimestamp, false, localtimestamp);
"""

_numbers = itertools.count(1)


@contextmanager
def server_cursor(conninfo: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor in autocommit mode on a connection of its own."""
    connection = psycopg2.connect(conninfo)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def held(conninfo: str, statement: str, *params: object) -> Iterator[None]:
    """A psql that somebody has left open in the middle of a transaction."""
    connection = psycopg2.connect(conninfo)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, params)
        yield
        connection.rollback()  # closed alone, the server would let go a moment later
    finally:
        connection.close()


def fresh(postgres: str, template: str) -> Iterator[str]:
    """The connection string of a database of its own, copied from another one."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with server_cursor(postgres) as cursor:
        cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    yield psycopg2.extensions.make_dsn(postgres, dbname=name)
    with server_cursor(postgres) as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Queries:
    """The web UI's and the tests' own view of a database: its own SQL, another connection."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.connection = psycopg2.connect(conninfo)
        self.connection.autocommit = True

    def __call__(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *params: object) -> Any:
        return self(sql, *params)[0][0]

    def post(
        self,
        file_name: str | None,
        form: str | None = "DownloadForStationForm",
        conditions: Any = None,
        user: int = 1,
        timestamp: str = "localtimestamp",
    ) -> int:
        """Insert a row as the web UI does; `conditions` as a string is JSON text."""
        if conditions is None:
            conditions = {"station_name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-12-31"}
        text = conditions if isinstance(conditions, str) else json.dumps(conditions, ensure_ascii=False)
        return int(
            self.value(
                "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download,"
                " task_status_timestamp, timestamp)"
                f" VALUES (%s, %s, %s, 'в очереди', %s, localtimestamp, {timestamp}) RETURNING id",
                user,
                form,
                text,
                file_name,
            )
        )

    def status(self, post_id: int) -> str:
        return str(self.value("SELECT task_status FROM post WHERE id = %s", post_id))

    def await_status(self, post_id: int, wanted: str, seconds: float = PATIENCE) -> str:
        """Wait until the row's status matches the pattern `wanted`; return it."""
        return wait_for(
            lambda: status if re.fullmatch(wanted, status := self.status(post_id)) else None,
            seconds,
            lambda: (
                f"post {post_id} is {self.status(post_id)!r}, not {wanted!r}: "
                f"{self('SELECT state, error, attempt, spent FROM tksva_q.job WHERE post_id = %s', post_id)}"
            ),
        )

    def blocked(self) -> list[int]:
        """The processes of the server that wait for a lock in this database."""
        self("SELECT pg_stat_clear_snapshot()")  # or a transaction would always be told the same
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return [pid for (pid,) in self(waiting)]

    def close(self) -> None:
        self.connection.close()


def locked(sql: Queries) -> bool:
    """Tell whether the small warehouse is marked as being read."""
    return bool(sql.value("SELECT gives_information FROM dwh_tables_info"))
