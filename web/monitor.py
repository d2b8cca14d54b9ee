"""One look at the database a second, whoever watches: the pulse of the loop, and progress for all open pages.

The look has a thread and a connection of its own. Health answers from the last look, so that a database that hangs
does not hang the answer; every browser on `/api/events` gets what the one look saw.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from db import Cursor, Database, DatabaseAway, one_line
from speed import Speeds

#: Seconds between two looks: with and without somebody who watches a running job.
WATCHED_SECONDS = 0.5
IDLE_SECONDS = 1.0
#: Seconds that a look may take; with the next one it stays below the 5 s in which health must turn.
LOOK_SECONDS = 2.0
#: Seconds after which a look that has not come back counts as none.
PATIENCE = 3.5
#: Share of the lease after which a loop that has not renewed it counts as frozen: by default 12 of 15 s.
FROZEN_SHARE = 0.8
#: But never fewer seconds than these: a busy machine is not a frozen loop.
FROZEN_SECONDS = 3.0

_PULSE = """
SELECT (SELECT coalesce(max(id), 0) FROM tksva_q.job),
       (SELECT coalesce(sum(jobs), 0) || ' ' || coalesce(sum(present), 0) FROM tksva_q.counter),
       loop.age, loop.lease
FROM (SELECT 1) one LEFT JOIN (
    SELECT extract(epoch FROM clock_timestamp() - loop_at)::float AS age, lease_seconds AS lease
    FROM tksva_q.worker WHERE loop_at IS NOT NULL ORDER BY loop_at DESC LIMIT 1) loop ON true
"""
_RUNNING = "SELECT id, attempt, rows, total FROM tksva_q.job WHERE state = 'running' ORDER BY id LIMIT 200"


@dataclass(frozen=True)
class Running:
    """A job that is being prepared, as its bar shows it."""

    id: int
    rows: int
    total: int | None
    speed: float | None  # rows a second, lately
    left: float | None  # seconds


@dataclass(frozen=True)
class Look:
    """What one look saw."""

    #: Seconds since any loop was known to go round; None: there is none. Two looks that differ in it alone are alike.
    loop_age: float | None = field(compare=False)
    loop_limit: float  # seconds of age at which it counts as frozen
    running: tuple[Running, ...]
    version: tuple[Any, ...]  # another one: the lists have changed

    @property
    def loop_alive(self) -> bool:
        """Whether a loop goes round."""
        return self.loop_age is not None and self.loop_age < self.loop_limit


class Monitor:
    """Looks, remembers the last look, and tells everybody who watches."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._stop = threading.Event()
        self._look: Look | None = None
        self._answered = time.monotonic()
        self._reason: str | None = "ещё не спрошена"
        self._speeds = Speeds()
        self._watchers: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database: Database | None = None
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    async def start(self) -> None:
        """Begin to look; returns after the first look, or when it does not come back."""
        self._loop = asyncio.get_running_loop()
        first = asyncio.Event()
        self._watchers.add(first)
        self._thread.start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), LOOK_SECONDS)
        self._watchers.discard(first)

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()

    def away(self) -> str | None:
        """Return why the database counts as away, None while it answers."""
        if self._reason is not None:
            return self._reason
        silent = time.monotonic() - self._answered
        return f"не отвечает {silent:.0f} с" if silent > PATIENCE else None

    @property
    def look(self) -> Look | None:
        """The last look; None where the database is away."""
        return None if self.away() else self._look

    async def looks(self) -> AsyncIterator[Look | None]:
        """Give the present look, then each new one that differs from the one before; None while there is none."""
        news = asyncio.Event()
        self._watchers.add(news)
        try:
            last: Look | None = None
            first = True
            while True:
                look = self.look
                if first or look != last:
                    first, last = False, look
                    yield look
                news.clear()
                await news.wait()
        finally:
            self._watchers.discard(news)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self._look, self._reason = self._take(), None
            except (DatabaseAway, psycopg2.Error) as error:
                self._reason = one_line(error)
            self._answered = time.monotonic()
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the event loop was quicker to end
                    self._loop.call_soon_threadsafe(self._tell)
            watched = self._watchers and self._look is not None and self._look.running
            self._stop.wait(WATCHED_SECONDS if watched else IDLE_SECONDS)

    def _take(self) -> Look:
        if self._database is None:
            self._database = Database(self._address(), "tksva_q web monitor")
        self._database.connect(LOOK_SECONDS)
        with self._database.transaction(LOOK_SECONDS) as cursor:
            return self._seen(cursor)

    def _seen(self, cursor: Cursor) -> Look:
        cursor.execute(_PULSE)
        newest, ended, age, lease = cursor.fetchone() or (0, "", None, None)
        cursor.execute(_RUNNING)
        rows = cursor.fetchall()
        running = []
        for job, attempt, made, total in rows:
            speed = self._speeds.add((job, attempt), made, time.monotonic())
            left = max(0, total - made) / speed if speed and total is not None else None
            running.append(Running(job, made, total, speed, left))
        self._speeds.keep({(job, attempt) for job, attempt, *_ in rows})
        limit = max(FROZEN_SECONDS, FROZEN_SHARE * (lease or 0))
        alive = age is not None and age < limit
        version = (newest, ended, alive, tuple((job, attempt) for job, attempt, *_ in rows))
        return Look(age, limit, tuple(running), version)

    def _tell(self) -> None:
        for news in self._watchers:
            news.set()
