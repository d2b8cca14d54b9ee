"""PostgreSQL: how to reach it, one connection that heals, the tables, the migrations.

Every call has a time limit of its own on this side of the wire: a server that swallows packets
looks, to libpq, like one that is thinking. The limit shuts the socket, which no server can prevent.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2.sql import SQL, Identifier

from errors import QueueError
from settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config

#: Seconds to reach the server, its authentication included.
CONNECT_SECONDS = 5
#: Seconds one transaction of the queue may take; all of them touch few rows.
CALL_SECONDS = 10.0
#: Seconds between two looks of the watchdog; a call may outlive its limit by this much.
WATCH_SECONDS = 0.25
#: Key of the advisory lock that lets one process at a time migrate ("tksva_q" in ASCII).
MIGRATION_LOCK = 0x746B7376615F71

#: What tells the kernel to give up a connection over TCP whose other end has gone: seconds, milliseconds the last.
_KEEPALIVE: dict[str, Any] = {
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
                **_KEEPALIVE,
            )
            self.connection.autocommit = True
            with time_limit(self.connection, seconds), self.connection.cursor() as cursor:
                # A child that is stopped inside a transaction must not hold its row locks for ever.
                cursor.execute(
                    "SET statement_timeout = '10s'; SET lock_timeout = '8s';"
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


# --- the tables of the web UI, and the queue's own schema -------------------------------------------------------------


def migrate(conninfo: str, target: str = "head", workloads: Iterable[str] = ()) -> None:
    """Bring the database to `target`: `head` makes everything, `base` takes the queue's own schema away again.

    The web UI's tables are made only where they are absent, and are never taken away. The tables of `workloads`
    follow; `base` takes away those of every workload that was ever on.

    Raises:
        DatabaseAway: the server cannot be reached, or broke the connection.
        QueueError: the server does not let it; nothing was changed.
    """
    from alembic import command  # noqa: PLC0415 -- a third of a second that only a migration needs

    conninfo = psycopg2.extensions.make_dsn(conninfo, connect_timeout=CONNECT_SECONDS, **_KEEPALIVE)
    try:
        with _locked(conninfo) as cursor:
            if target == "base":
                for tree in (*(name for name in trees() if current(cursor, name)), ""):
                    command.downgrade(alembic_config(conninfo, tree), target)
                # Alembic's version tables are the last things in it.
                cursor.execute("DROP SCHEMA IF EXISTS tksva_q CASCADE")
            else:
                for tree in ("", *(name for name in workloads if name in trees())):
                    command.upgrade(alembic_config(conninfo, tree), target)
    except psycopg2.Error as error:
        if is_away(error):
            raise DatabaseAway(one_line(error)) from error
        raise QueueError(f"the schema tksva_q cannot be brought to {target}: {one_line(error)}") from error


#: The migrations of the queue itself; those of a workload stand in a folder of its name beside it.
_CORE = "versions"


def trees() -> list[str]:
    """Return the names of the workloads that have migrations of their own."""
    folders = sorted(path.parent.name for path in (HERE / "migrations").glob("*/0001_*.py"))
    return [name for name in folders if name != _CORE]


def head(tree: str = "") -> str:
    """Return the schema version that this code wants, of the queue or of a workload: the newest file by name."""
    return max(path.name.split("_", 1)[0] for path in (HERE / "migrations" / (tree or _CORE)).glob("[0-9]*.py"))


def current(cursor: Cursor, tree: str = "") -> str | None:
    """Return the schema version of the database, None where the queue, or the workload, has never been."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"tksva_q.{_version_table(tree)}",))
    if not _one(cursor)[0]:
        return None
    cursor.execute(SQL("SELECT version_num FROM {}").format(Identifier("tksva_q", _version_table(tree))))
    row = cursor.fetchone()
    return str(row[0]) if row else None


def outdated(cursor: Cursor, workloads: Iterable[str]) -> list[str]:
    """Return the workloads whose tables are not as this code wants them."""
    return [name for name in workloads if name in trees() and current(cursor, name) != head(name)]


def _version_table(tree: str) -> str:
    return f"alembic_version_{tree}" if tree else "alembic_version"


def alembic_config(conninfo: str, tree: str = "") -> "Config":
    """Return Alembic's configuration for this database; `migrations/env.py` reads the connection string from it."""
    from alembic.config import Config  # noqa: PLC0415 -- see migrate

    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("version_locations", str(HERE / "migrations" / (tree or _CORE)).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["conninfo"] = conninfo
    config.attributes["version_table"] = _version_table(tree)
    return config


@contextlib.contextmanager
def _locked(conninfo: str) -> Iterator[Cursor]:
    """Hold the advisory lock under which two daemons that start together migrate one after the other."""
    connection = psycopg2.connect(conninfo)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            yield cursor
    finally:
        connection.close()


def _one(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise QueueError("the database returned no row where one was certain")
    return row
