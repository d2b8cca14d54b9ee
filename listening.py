"""What TaskIQ's worker listens to: messages of the broker, as long as a child has nothing to do.

    python -m taskiq worker broker_worker:broker

TaskIQ receives and acknowledges; claiming, running and ending jobs is the business of the loop, which has a thread of
its own. A broker that goes away is reached for again, and the jobs that run do not notice.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from taskiq import AckableMessage, AsyncBroker, BrokerMessage
from taskiq.utils import maybe_awaitable

import brokers
import db
import janitor
from broker_loop import BrokerLoop, Call
from logs import log
from settings import Settings

#: Seconds within which a signal is heeded: the handler in which TaskIQ notes it does not wake the loop of events.
SIGNAL_SECONDS = 0.5
#: Seconds that a worker without a free child goes on listening: a short job is done by then.
LINGER_SECONDS = 0.1
#: The greatest id that PostgreSQL can give a job.
LAST_ID = 2**63 - 1


class ListeningBroker(AsyncBroker):
    """The broker of BROKER_URL for a worker, made anew each time that it fails."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._vacancy = asyncio.Event()
        self._answered = asyncio.Event()  # the message that was given last is done with
        self._loop: BrokerLoop | None = None
        self._stirring: asyncio.Task[None] | None = None
        self._outage = brokers.Outage()

        async def run(job_id: int) -> None:
            # TaskIQ hands over also what it could not read as a number.
            if isinstance(job_id, int) and 0 < job_id <= LAST_ID:
                await self._run(job_id)

        self.register_task(run, brokers.TASK)

    async def startup(self) -> None:
        """Start the loop, with its children, in a thread of its own."""
        await super().startup()
        running = asyncio.get_running_loop()
        made: asyncio.Future[BrokerLoop] = running.create_future()

        def tell(vacant: bool) -> None:
            self._from_thread(running, self._vacancy.set if vacant else self._vacancy.clear)

        # No daemon: the process does not end before the children have.
        threading.Thread(target=self._serve, args=(running, made, tell), name="loop").start()
        self._loop = await made
        self._stirring = running.create_task(self._stir())
        log.info("worker_started", extra={"pid": os.getpid(), "children": self._settings.workers})

    @staticmethod
    async def _stir() -> None:
        while True:
            await asyncio.sleep(SIGNAL_SECONDS)

    def _serve(
        self, running: asyncio.AbstractEventLoop, made: "asyncio.Future[BrokerLoop]", tell: Callable[[bool], None]
    ) -> None:
        """Be the loop's thread."""
        try:
            conninfo = db.dsn(self._settings)
            loop = BrokerLoop(self._settings, conninfo, tell)
            janitor.start(self._settings, conninfo)  # what a crash leaves behind is on this machine's disk
        except Exception as error:
            self._from_thread(running, made.set_exception, error)
            return
        self._from_thread(running, made.set_result, loop)
        try:
            loop.serve()
        except BaseException:
            log.critical("crashed", exc_info=True)
            # Not by a signal: TaskIQ would first wait for messages that nobody answers any more. It starts another one.
            os._exit(1)

    @staticmethod
    def _from_thread(running: asyncio.AbstractEventLoop, function: Callable[..., object], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has come to its end
            running.call_soon_threadsafe(function, *values)

    async def shutdown(self) -> None:
        """Have the loop drain; the process ends when it has."""
        if self._stirring is not None:
            self._stirring.cancel()
        if self._loop is not None:
            self._loop.stop()
        await super().shutdown()

    async def kick(self, message: BrokerMessage) -> None:
        """Send a message, over a connection of its own: workers have no reason to."""
        async with brokers.connected(self._settings) as broker:
            await broker.kick(message)

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Give message after message, the next one when the one before has been answered.

        TaskIQ ends it by one cancel, which a client may take for its own: `asyncio.wait_for` before Python 3.12 forgets
        one that comes along with an answer. It is cancelled until it has ended.
        """
        async with aclosing(self._messages()) as messages:
            while True:
                coming = asyncio.ensure_future(anext(messages))
                try:
                    await asyncio.wait({coming})
                finally:
                    while not coming.done():
                        coming.cancel()
                        await asyncio.wait({coming}, timeout=SIGNAL_SECONDS)
                yield coming.result()

    async def _messages(self) -> AsyncGenerator[AckableMessage, None]:
        while True:
            try:
                async with brokers.connected(self._settings, listens=True) as broker:
                    self._outage.over()
                    if self._loop is not None:
                        self._loop.look()  # messages may have been lost
                    while True:
                        await self._vacancy.wait()
                        async with aclosing(broker.listen()) as messages:
                            async for message in messages:
                                yield self._watched(message)
                                await self._answered.wait()
                                if not await self._is_vacant():
                                    break  # the others may have the rest
                            else:
                                raise ConnectionError("the broker has ended the conversation")
            except Exception as error:  # whatever a client raises, its broker is away
                await asyncio.sleep(self._outage.away(error))

    async def _run(self, job_id: int) -> None:
        """Answer a message: have the loop claim a job. Returns when it has, or has found none."""
        running = asyncio.get_running_loop()
        answered = asyncio.Event()
        if self._loop is None:
            raise RuntimeError("not started")
        self._loop.call(Call(job_id, lambda: self._from_thread(running, answered.set)))
        await answered.wait()

    async def _is_vacant(self) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._vacancy.wait(), LINGER_SECONDS)
        return self._vacancy.is_set()

    def _watched(self, message: AckableMessage | bytes) -> AckableMessage:
        """Return a message whose acknowledgement is seen: TaskIQ acknowledges also what it does not understand."""
        self._answered.clear()

        async def acknowledge() -> None:
            try:
                if isinstance(message, AckableMessage):
                    await maybe_awaitable(message.ack())
            finally:
                self._answered.set()

        return AckableMessage(data=message.data if isinstance(message, AckableMessage) else message, ack=acknowledge)
