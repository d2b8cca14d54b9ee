"""Tells the broker which jobs wait, in a thread of its own: the loop never waits for a broker.

The job table stays the truth. A message is a call for a worker that has nothing to do, and which job that worker
takes is decided by the database, in its own order. So only the first WINDOW of the waiting jobs are announced at a
time, and whatever the broker has lost costs nothing: it is announced again.
"""

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg2

import brokers
import jobs
from db import Cursor, Database, DatabaseAway
from prepared import Prepared
from settings import Settings

if TYPE_CHECKING:
    from taskiq import AsyncBroker

#: Jobs that are announced ahead of the workers: the first ones in the order in which they will be claimed.
WINDOW = 200
#: Seconds that the broker may take to confirm them.
CONFIRM_SECONDS = 10.0
#: Seconds after which the very first ones are announced once more, should the broker have lost them without a word;
#: and how many, so that messages do not heap up where all workers are simply busy.
REPEAT_SECONDS = 30.0
REPEATED = 10
#: Seconds before the next look while the database is away; the loop finds out when it is back.
REST_SECONDS = 1.0

_DUE = Prepared(
    "tksva_q_due",
    f"""
SELECT id, sent_at::text FROM (
    SELECT id, run_at, row_number() OVER (ORDER BY priority DESC, queued_at, id) AS place
    FROM tksva_q.job WHERE {jobs.CLAIMABLE} ORDER BY priority DESC, queued_at, id LIMIT {WINDOW}
) first LEFT JOIN tksva_q.dispatch ON job_id = id
WHERE sent_at IS NULL OR sent_at < greatest(run_at, %(since)s::timestamptz)
   OR (place <= {REPEATED} AND sent_at < clock_timestamp() - make_interval(secs => {REPEAT_SECONDS}))
ORDER BY place
""",  # noqa: S608 -- put together from this project's own constants
)

# Not where a worker has used the message up already: that job is to be announced again.
_SENT = Prepared(
    "tksva_q_sent",
    """
WITH sent AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(before)s::text[]) AS sent (id, before)
), again AS (
    UPDATE tksva_q.dispatch SET sent_at = clock_timestamp() FROM sent WHERE job_id = id AND sent_at::text = before
)
INSERT INTO tksva_q.dispatch (job_id, sent_at)
SELECT id, clock_timestamp() FROM sent WHERE before IS NULL
ON CONFLICT DO NOTHING
""",
)

_FORGET = Prepared(
    "tksva_q_forget",
    "DELETE FROM tksva_q.dispatch WHERE NOT EXISTS"
    " (SELECT FROM tksva_q.job WHERE job.id = job_id AND job.state = 'waiting')",
)

_USED_UP = Prepared(
    "tksva_q_used_up",
    """
INSERT INTO tksva_q.dispatch (job_id, sent_at)
SELECT id, '-infinity' FROM tksva_q.job WHERE id = %(id)s AND state = 'waiting'
ON CONFLICT (job_id) DO UPDATE SET sent_at = '-infinity'
""",
)


@dataclass(frozen=True)
class Due:
    """A waiting job that no message in the broker stands for."""

    job_id: int
    sent_at: str | None  # when it was announced before; None for never


def due(cursor: Cursor, since: str) -> list[Due]:
    """Return the jobs that are to be announced, the first ones first.

    Args:
        cursor: on the job table's database.
        since: what was announced earlier, by the database's clock, the broker may have lost.
    """
    _DUE.run(cursor, {"since": since})
    return [Due(*row) for row in cursor.fetchall()]


def sent(cursor: Cursor, announced: list[Due]) -> None:
    """Remember that the broker has these messages, and forget the jobs that do not wait any more."""
    _SENT.run(cursor, {"ids": [one.job_id for one in announced], "before": [one.sent_at for one in announced]})
    _FORGET.run(cursor)


def used_up(cursor: Cursor, job_id: int) -> None:
    """Have a job announced again whose message has led a worker to another job, or to none; it may wait still."""
    _USED_UP.run(cursor, {"id": job_id})


class Dispatcher:
    """The thread that announces what waits, and what it needs: one connection to the database, one to the broker."""

    def __init__(self, settings: Settings, conninfo: str) -> None:
        self._settings = settings
        self._database = Database(conninfo, "tksva_q dispatch")
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._closing = False
        self._outage = brokers.Outage()
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)

    def start(self) -> None:
        """Begin to announce."""
        self._thread.start()

    def wake(self) -> None:
        """Look now, from whatever thread: something may wait."""
        with contextlib.suppress(RuntimeError):  # the thread has come to its end
            self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """Stop announcing; a broker that is away is not waited for long."""
        self._closing = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(brokers.CLOSE_SECONDS + 1)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())
        self._database.close()

    async def _serve(self) -> None:
        while not self._closing:
            try:
                async with brokers.connected(self._settings) as broker:
                    self._outage.over()
                    await self._announce(broker)
            except (DatabaseAway, psycopg2.Error):  # the loop says so already
                await self._rest(REST_SECONDS)
            except Exception as error:  # whatever a client raises, its broker is away
                await self._rest(self._outage.away(error))

    async def _rest(self, seconds: float) -> None:
        if not self._closing:
            await asyncio.sleep(seconds)

    async def _announce(self, broker: "AsyncBroker") -> None:
        since = self._now()
        while not self._closing:
            self._news.clear()
            if broker.lost:  # type: ignore[attr-defined]  # every broker of ours has it
                raise ConnectionError("the connection was lost")
            with self._database.statement() as cursor:
                waiting = due(cursor, since)
            if waiting:
                async with asyncio.timeout(CONFIRM_SECONDS):
                    await asyncio.gather(*(_send(broker, one.job_id) for one in waiting))
                with self._database.transaction() as cursor:
                    sent(cursor, waiting)
                continue  # more may have moved up meanwhile
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._settings.poll_seconds)

    def _now(self) -> str:
        with self._database.statement() as cursor:
            cursor.execute("SELECT clock_timestamp()::text")
            return str((cursor.fetchone() or ("",))[0])


async def _send(broker: "AsyncBroker", job_id: int) -> Any:
    from taskiq.kicker import AsyncKicker  # noqa: PLC0415 -- only where BROKER_URL is set

    kicker: AsyncKicker[[int], None] = AsyncKicker(brokers.TASK, broker, {})
    return await kicker.with_task_id(str(job_id)).kiq(job_id)
