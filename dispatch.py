"""Tells the broker which jobs wait, in a thread of its own: the loop never waits for a broker.

The job table stays the truth. A message is a call for a worker that has nothing to do, and which job that worker
takes is decided by the database, in its own order. So WINDOW messages that nobody has taken yet are enough: where
all workers are busy more of them would wake nobody. Whatever the broker has lost is sent again.
"""

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg2

import brokers
import jobs
from db import Cursor, Database, DatabaseAway
from prepared import Prepared
from settings import Settings

if TYPE_CHECKING:
    from taskiq import AsyncBroker

#: Messages in the broker at a time; there is one for each of the jobs that will be claimed first.
WINDOW = 200
#: Seconds that the broker may take to confirm them.
CONFIRM_SECONDS = 10.0
#: Seconds until the next look where the broker has as many as it may, and until more are put together after some.
FULL_SECONDS = 0.2
GATHER_SECONDS = 0.01
#: Seconds after which a few messages that nobody has taken count as lost: the broker may lose them without a word.
#: They are few, lest they heap up where all workers are simply busy.
LOST_SECONDS = 30.0
FEW = 20
#: Seconds before the next look while the database is away; the loop finds out when it is back.
REST_SECONDS = 1.0

# Noted before they are sent: a worker may be quicker than the broker's confirmation. What could not be sent is noted in
# vain, but the next connection begins with nothing. A job that has run since its message was sent and waits again gets
# another one: the first may be with a worker that was cut off.
_NEXT = Prepared(
    "tksva_q_next",
    f"""
INSERT INTO tksva_q.dispatch (job_id, sent_at)
SELECT id, clock_timestamp() FROM tksva_q.job
WHERE {jobs.CLAIMABLE} AND NOT EXISTS (SELECT FROM tksva_q.dispatch WHERE job_id = id AND sent_at >= run_at)
ORDER BY priority DESC, queued_at, id LIMIT (SELECT greatest(0, {WINDOW} - count(*)) FROM tksva_q.dispatch)
ON CONFLICT (job_id) DO UPDATE SET sent_at = excluded.sent_at
RETURNING job_id
""",  # noqa: S608 -- put together from this project's own constants
)

_EXPIRE = Prepared(
    "tksva_q_expire",
    f"""
DELETE FROM tksva_q.dispatch WHERE job_id IN (
    SELECT job_id FROM tksva_q.dispatch
    WHERE sent_at < clock_timestamp() - make_interval(secs => {LOST_SECONDS}) ORDER BY sent_at LIMIT {FEW})
""",  # noqa: S608 -- as above
)

_TAKEN = Prepared("tksva_q_taken", "DELETE FROM tksva_q.dispatch WHERE job_id = %(id)s")


def next_ones(cursor: Cursor) -> list[int]:
    """Note the next jobs that the broker is to be told of, as many as there is room for; return their ids."""
    _NEXT.run(cursor)
    return [int(row[0]) for row in cursor.fetchall()]


def is_full(cursor: Cursor) -> bool:
    """Tell whether the broker has as many messages as it may."""
    cursor.execute("SELECT count(*) >= %s FROM tksva_q.dispatch", (WINDOW,))
    return cursor.fetchone() == (True,)


def expire(cursor: Cursor) -> None:
    """Give up a few messages that nobody has taken for long; call it once in LOST_SECONDS."""
    _EXPIRE.run(cursor)


def forget(cursor: Cursor) -> None:
    """Take all messages for lost: those of an earlier connection may be."""
    cursor.execute("DELETE FROM tksva_q.dispatch")


def taken(cursor: Cursor, job_id: int) -> None:
    """Note that a worker has a job's message, whichever job it then claims; one that still waits gets another."""
    _TAKEN.run(cursor, {"id": job_id})


class Dispatcher:
    """The thread that announces what waits, and what it needs: one connection to the database, one to the broker."""

    def __init__(self, settings: Settings, conninfo: str) -> None:
        self._settings = settings
        self._database = Database(conninfo, "tksva_q dispatch")
        self._loop: asyncio.AbstractEventLoop | None = None  # while the thread runs
        self._news = asyncio.Event()
        self._closing = False
        self._outage = brokers.Outage()
        self._expire_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to announce."""
        self._loop = loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="dispatch", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look now, from whatever thread: something may wait."""
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the thread has come to its end
            self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """Stop announcing; a broker that is away is not waited for long."""
        self._closing = True
        self.wake()
        if self._thread:
            self._thread.join(brokers.CLOSE_SECONDS + 1)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve())
        self._database.close()

    async def _serve(self) -> None:
        while not self._closing:
            try:
                async with brokers.connected(self._settings) as broker:
                    await self._announce(broker)
            except (DatabaseAway, psycopg2.Error):  # the loop says so already
                await self._rest(REST_SECONDS)
            except Exception as error:  # whatever a client raises, its broker is away
                await self._rest(self._outage.away(error))

    async def _rest(self, seconds: float) -> None:
        if not self._closing:
            await asyncio.sleep(seconds)

    async def _announce(self, broker: "AsyncBroker") -> None:
        with self._database.statement() as cursor:
            forget(cursor)
        self._expire_at = time.monotonic() + LOST_SECONDS
        pause = await self._turn(broker)
        self._outage.over()  # not before: a broker that takes connections may take no messages
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)
            pause = await self._turn(broker)

    async def _turn(self, broker: "AsyncBroker") -> float:
        """Send what there is to send; return the seconds until the next look, 0 where more may wait."""
        self._news.clear()
        if broker.lost:  # type: ignore[attr-defined]  # every broker of ours has it
            raise ConnectionError("the connection was lost")
        if time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + LOST_SECONDS
            with self._database.statement() as cursor:
                expire(cursor)
        with self._database.statement() as cursor:
            waiting = next_ones(cursor)
        if not waiting:
            with self._database.statement() as cursor:
                return FULL_SECONDS if is_full(cursor) else self._settings.poll_seconds
        async with asyncio.timeout(CONFIRM_SECONDS):
            await asyncio.gather(*(_send(broker, job_id) for job_id in waiting))
        await asyncio.sleep(GATHER_SECONDS)
        return 0.0


async def _send(broker: "AsyncBroker", job_id: int) -> Any:
    from taskiq.kicker import AsyncKicker  # noqa: PLC0415 -- only where BROKER_URL is set

    kicker: AsyncKicker[[int], None] = AsyncKicker(brokers.TASK, broker, {})
    return await kicker.with_task_id(str(job_id)).kiq(job_id)
