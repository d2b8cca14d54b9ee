"""Rows for writers that take Python values: a cursor on the server, so that memory stays flat."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions

#: Rows fetched at once: more are not faster.
FETCHED = 5_000


@contextmanager
def rows(conninfo: str, query: str) -> Iterator[tuple[list[str], Iterator[tuple[Any, ...]]]]:
    """Yield the columns' names and the rows of a query; numeric values as float, which all of the writers take."""
    floats = psycopg2.extensions.new_type(
        psycopg2.extensions.DECIMAL.values, "float", lambda text, _: None if text is None else float(text)
    )
    connection = psycopg2.connect(conninfo)
    psycopg2.extensions.register_type(floats, connection)
    cursor = connection.cursor("benchmark")
    cursor.itersize = FETCHED
    cursor.execute(query)
    first = cursor.fetchmany(FETCHED)
    names = [column.name for column in cursor.description or ()]

    def values() -> Iterator[tuple[Any, ...]]:
        yield from first
        yield from cursor

    yield names, values()
    connection.close()
