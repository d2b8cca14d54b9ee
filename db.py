"""PostgreSQL: how to reach it, one connection that heals. The tables are made by `schema.py`.

Every call has a time limit of its own on this side of the wire: a server that swallows packets
looks, to libpq, like one that is thinking. The limit shuts the socket, which no server can prevent.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from errors import QueueError
from settings import Settings

#: Seconds to reach the server, its authentication included.
CONNECT_SECONDS = 5
#: Seconds one transaction of the queue may take; all of them touch few rows.
CALL_SECONDS = 10.0
#: Milliseconds that a lock is waited for.
LOCK_MS = 8000
#: Seconds between two looks of the watchdog; a call may outlive its limit by this much.
WATCH_SECONDS = 0.25

#: What tells the kernel to give up a connection over TCP whose other end has gone: seconds, milliseconds the last.
KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

HERE = Path(__file__).resolve().parent

Cursor = psycopg2.extensions.cursor


class DatabaseAway(QueueError):
    """The queue's own PostgreSQL cannot be reached or broke the connection; it will be tried again."""


def dsn(settings: Settings) -> str:
    """Return the libpq connection string of the job table's PostgreSQL, starting the embedded one where needed."""
    if settings.embedded:
        from embedded import embedded_dsn  # noqa: PLC0415 -- costs an import of its own, only this default needs it

        return embedded_dsn(settings.var_dir)
    return psycopg2.extensions.make_dsn(
        host=settings.psql_host,
        port=settings.psql_port,
        dbname=settings.psql_dbname,
        user=settings.psql_user,
        password=settings.psql_pwd.get_secret_value() if settings.psql_pwd else None,
    )


_NO_CALL = (0.0, -1)
_AWAY = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.ReadOnlySqlTransaction)


def is_away(error: psycopg2.Error) -> bool:
    """Tell whether an error says that the connection is lost, or of no more use.

    Without a class and an SQLSTATE of its own it is libpq's word, not the server's: psycopg2 does not know yet
    that the server is gone, and leaves the connection open.
    """
    return isinstance(error, _AWAY) or (type(error) is psycopg2.DatabaseError and error.pgcode is None)


class _Watchdog(threading.Thread):
    """Shuts the sockets of calls that are past their time; one thread for all connections of a process."""

    def __init__(self) -> None:
        super().__init__(name="database watchdog", daemon=True)
        self.calls: dict[int, tuple[float, int]] = {}

    def run(self) -> None:
        while True:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            for call, (deadline, descriptor) in list(self.calls.items()):
                if now > deadline and self.calls.pop(call, _NO_CALL) is not _NO_CALL:
                    _shut(descriptor)


def _shut(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


_watchdog: _Watchdog | None = None


@contextlib.contextmanager
def time_limit(connection: psycopg2.extensions.connection, seconds: float) -> Iterator[None]:
    """Break `connection` when the calls made inside last longer than `seconds`, whatever the server does."""
    global _watchdog  # noqa: PLW0603 -- one thread a process, started by its first database call
    if _watchdog is None or not _watchdog.is_alive():
        _watchdog = _Watchdog()
        _watchdog.start()
    call = id(connection)
    _watchdog.calls[call] = (time.monotonic() + seconds, connection.fileno())
    try:
        yield
    finally:
        _watchdog.calls.pop(call, _NO_CALL)


class Database:
    """One connection to the job table's PostgreSQL, made at its first use and again after it broke.

    Args:
        conninfo: a libpq connection string.
        name: shown to the server's administrator as `application_name`.
    """

    def __init__(self, conninfo: str, name: str) -> None:
        self.conninfo = conninfo
        self.name = name
        self.connection: psycopg2.extensions.connection | None = None
        #: Seconds that a call may take where it does not say so itself.
        self.patience: Callable[[], float] = lambda: CALL_SECONDS

    def connect(self, seconds: float = CONNECT_SECONDS) -> psycopg2.extensions.connection:
        """Return the open connection, in autocommit mode; raise DatabaseAway where there is none to be had."""
        if self.connection is not None and not self.connection.closed:
            return self.connection
        try:
            self.connection = psycopg2.connect(
                self.conninfo,
                connect_timeout=max(2, int(seconds)),
                application_name=self.name,
                client_encoding="UTF8",
                **KEEPALIVE,
            )
            self.connection.autocommit = True
            with time_limit(self.connection, seconds), self.connection.cursor() as cursor:
                # A child that is stopped inside a transaction must not hold its row locks for ever.
                cursor.execute(
                    f"SET statement_timeout = '10s'; SET lock_timeout = {LOCK_MS};"
                    "SET idle_in_transaction_session_timeout = '10s';"
                    "SET default_transaction_isolation = 'read committed'"
                )
        except psycopg2.Error as error:
            self.close()
            raise DatabaseAway(one_line(error)) from error
        except UnicodeDecodeError as error:  # before the login the server complains in an encoding of its own
            raise DatabaseAway(" ".join(error.object.decode(errors="replace").split())) from error
        return self.connection

    @contextlib.contextmanager
    def transaction(self, seconds: float | None = None) -> Iterator[Cursor]:
        """Run the block as one transaction, in at most `seconds`; raise DatabaseAway when the connection breaks."""
        seconds = self.patience() if seconds is None else seconds
        connection = self.connect(min(seconds, CONNECT_SECONDS))
        try:
            with time_limit(connection, seconds), connection.cursor() as cursor:
                cursor.execute("BEGIN")
                try:
                    yield cursor
                except BaseException:
                    with contextlib.suppress(psycopg2.Error):
                        cursor.execute("ROLLBACK")
                    raise
                cursor.execute("COMMIT")
        except psycopg2.Error as error:
            self._broken(error)

    @contextlib.contextmanager
    def statement(self, seconds: float | None = None) -> Iterator[Cursor]:
        """Like `transaction`, for a single statement: it is its own transaction, in one round trip."""
        seconds = self.patience() if seconds is None else seconds
        connection = self.connect(min(seconds, CONNECT_SECONDS))
        try:
            with time_limit(connection, seconds), connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            self._broken(error)

    def _broken(self, error: psycopg2.Error) -> None:
        """Turn what a lost connection, a time limit or a deadlock raises into DatabaseAway; pass the rest on.

        A server that may only be read is a standby: the next connection may lead to the one that took over.
        """
        gone = self.connection is None or self.connection.closed
        if gone or is_away(error):
            self.close()
            raise DatabaseAway(one_line(error)) from error
        raise error

    def close(self) -> None:
        """Close the connection; the next use makes a new one."""
        if self.connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self.connection.close()
            self.connection = None


def one_line(error: BaseException) -> str:
    """Return what an error says as one line that PostgreSQL can store: the log and the job's record hold such."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def unforeseen(error: BaseException) -> str:
    """Return one line about an error that is not the project's own: without its class it may say next to nothing."""
    name, line = type(error).__name__, one_line(error)
    return line if line == name else f"{name}: {line}"
