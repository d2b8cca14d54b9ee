"""A PostgreSQL of the suite's own: on a socket and on loopback TCP, stopped and started again at the same place."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg2
import psycopg2.extensions

import demo_warehouse
import embedded
import schema
from faults.ports import free_port

#: Rows of the warehouse; an export of the greatest railway takes a second or two by pages of PAGE rows.
WAREHOUSE_ROWS = 40_000
TEMPLATE = "tksva_template"

_OPTIONS = "-c listen_addresses=127.0.0.1 -c log_lock_waits=on -c max_connections=200"


class Server:
    """The server; made and started by `running_server`."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "postgres"
        self.port = free_port()
        self.databases = 0
        # PostgreSQL does not run as root; the project knows already as whom it then does.
        self._user = embedded._server_user(self.data)

    def create(self) -> None:
        """Make the data folder, and the database that every bench copies: the queue's schema and the warehouse."""
        embedded._create(self.data, self._user)
        self.start()
        self.execute(f"CREATE DATABASE {TEMPLATE}")
        schema.migrate(self.conninfo(TEMPLATE))
        connection = psycopg2.connect(self.conninfo(TEMPLATE))
        demo_warehouse.create(connection, WAREHOUSE_ROWS)
        connection.close()

    def start(self) -> None:
        """Start, and return when connections are accepted."""
        options = f"-k {self.data} -p {self.port} {_OPTIONS}"
        self._control("start", "-w", "-t", "120", "-l", "server.log", "-o", options)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop: `fast` ends the sessions, `immediate` is a crash, recovered from at the next start."""
        self._control("stop", "-w", "-t", "60", "-m", mode)

    def conninfo(self, database: str = "postgres") -> str:
        return psycopg2.extensions.make_dsn(
            host=str(self.data), port=self.port, dbname=database, user="postgres", connect_timeout=5
        )

    def new_database(self) -> str:
        """Return the connection string of a fresh copy of the template."""
        self.databases += 1
        name = f"bench_{self.databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return self.conninfo(name)

    def execute(self, statement: str) -> None:
        connection = psycopg2.connect(self.conninfo())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()

    def complaints(self, pattern: str) -> list[str]:
        """Return the lines of the server's log that match."""
        log = (self.data / "server.log").read_text(errors="replace").splitlines()
        return [line for line in log if re.search(pattern, line)]

    def _control(self, *words: str) -> None:
        if said := embedded._run(("pg_ctl", *words, "-D", "."), self.data, self._user):
            raise RuntimeError(f"pg_ctl {words[0]}: {said}")


@contextmanager
def running_server() -> Iterator[Server]:
    """A server with nothing but the template in it; it is gone, with all it held, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tksva_q-faults-"))
    server = Server(folder)
    try:
        server.create()
        yield server
    finally:
        if (server.data / "postmaster.pid").exists():
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
