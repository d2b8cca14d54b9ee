"""A durable PostgreSQL of the benchmarks' own, and a fresh database of the queue's for each of them."""

from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

import schema
from embedded import embedded_dsn


class Server:
    """The server in `folder`; it ends with the last process that uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conninfo = psycopg2.extensions.make_dsn(embedded_dsn(folder))
        durable = sql(self.conninfo, "SELECT current_setting('fsync'), current_setting('synchronous_commit')")
        if durable != [("on", "on")]:
            raise RuntimeError(f"not durable: {durable}")

    @property
    def version(self) -> str:
        """The server's version, as it says itself."""
        return str(sql(self.conninfo, "SHOW server_version")[0][0])

    def database(self, name: str) -> str:
        """Make a new database with the queue's schema, in the place of an older one; return its connection string."""
        self.drop(name)
        sql(self.conninfo, f'CREATE DATABASE "{name}"')
        conninfo: str = psycopg2.extensions.make_dsn(self.conninfo, dbname=name)
        schema.migrate(conninfo)
        return conninfo

    def drop(self, name: str) -> None:
        """Take a database away."""
        sql(self.conninfo, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def sql(conninfo: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own, in autocommit mode."""
    connection = psycopg2.connect(conninfo)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
