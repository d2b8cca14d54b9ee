"""The database as the web process uses it: a few threads with a connection each, so that the event loop never waits."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg2

import db
from db import Cursor, Database, DatabaseAway
from errors import SettingsError, StorageError
from settings import Settings

#: Requests that talk to the database at the same time; more of them wait their turn.
THREADS = 4
#: Seconds that reading for a page or an answer may take.
READ_SECONDS = 3.0

T = TypeVar("T")


class Address:
    """Where the database is, found out at the first use: the embedded server is started by then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._conninfo: str | None = None
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """Return the connection string; raise DatabaseAway where the embedded server does not start."""
        with self._lock:
            if self._conninfo is None:
                try:
                    self._conninfo = db.dsn(self._settings)
                except (StorageError, SettingsError) as error:
                    raise DatabaseAway(str(error)) from error
            return self._conninfo


class Pool:
    """Runs work that needs the database in threads of its own.

    Args:
        address: of the database.
        away: tells why the database is known to be away, None while it answers: then nobody waits for it.
    """

    def __init__(self, address: Callable[[], str], away: Callable[[], str | None]) -> None:
        self._address = address
        self._away = away
        self._threads = ThreadPoolExecutor(THREADS, "database")
        self._own = threading.local()

    async def run(self, work: Callable[[Database], T]) -> T:
        """Run `work` on a connection; raise DatabaseAway where there is none, or the schema is not there yet."""
        if reason := self._away():
            raise DatabaseAway(reason)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` inside one reading transaction."""

        def reading(database: Database) -> T:
            with database.transaction(READ_SECONDS) as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
                return work(cursor)

        return await self.run(reading)

    def _run(self, work: Callable[[Database], T]) -> T:
        if not hasattr(self._own, "database"):
            self._own.database = Database(self._address(), "tksva_q web")
        try:
            return work(self._own.database)
        except psycopg2.Error as error:  # before the queue's first start there are no tables
            raise DatabaseAway(db.one_line(error)) from error

    def close(self) -> None:
        """End the threads when their work is done; their connections end with the process."""
        self._threads.shutdown(wait=False, cancel_futures=True)
