"""Servers that say nothing, and wires that swallow what they should carry."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator

import psycopg2
import psycopg2.extensions
import pytest

from db import Database


def value(own: Database, query: str = "SELECT 1") -> object:
    """What a query gives, over this connection."""
    with own.statement() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


@contextlib.contextmanager
def server(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server on the loopback that treats every connection with `serve`; its connection string."""
    serving: list[tuple[socket.socket, threading.Thread]] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                thread = threading.Thread(target=serve, args=(client,))
                serving.append((client, thread))
                thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            port = listener.getsockname()[1]
            yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for client, thread in serving:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                thread.join()
                client.close()


def say_nothing(client: socket.socket) -> None:
    while client.recv(65536):
        pass


class Wire:
    """Carries bytes between clients and the real server, until it is told to swallow them."""

    def __init__(self, conninfo: str) -> None:
        parts = psycopg2.extensions.parse_dsn(conninfo)
        self._address = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self.swallowing = threading.Event()

    def carry(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as back, contextlib.suppress(OSError):
            back.connect(self._address)
            while True:
                for ready in select.select([client, back], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if not self.swallowing.is_set():
                        (back if ready is client else client).sendall(data)


@pytest.fixture
def wire(database: str) -> Iterator[tuple[Wire, Database]]:
    carrier = Wire(database)
    with server(carrier.carry) as conninfo:
        own = Database(f"{conninfo} dbname={psycopg2.extensions.parse_dsn(database)['dbname']}", "test")
        yield carrier, own
        own.close()
