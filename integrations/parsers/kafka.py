"""Kafka's clients as the parser manager uses them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from db import DatabaseAway, one_line
from errors import QueueError
from integrations.parsers.settings import ParserSettings
from logs import log
from services import SIGN_SECONDS, Runtime

#: Milliseconds within which Kafka answers a request, or its answer counts as lost.
REQUEST_MS = 10_000
#: Seconds that closing a client may take.
CLOSE_SECONDS = 5.0
#: Seconds between two looks whether the service is to stop, while something is waited for.
LOOK_SECONDS = 0.25
#: Seconds before Kafka or the database is tried again: from the first pause to the longest.
RETRY_SECONDS = (0.5, 3.0)
#: Milliseconds after which a topic that is new is seen.
METADATA_MS = 10_000

# What they have to say of a broker that is away is said here, once: they say it again every tenth of a second.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

T = TypeVar("T")


class KafkaAway(QueueError):
    """Kafka cannot be reached, or does not answer; it will be tried again."""


class Stopped(Exception):
    """The service was asked to stop."""


def producer(options: ParserSettings) -> AIOKafkaProducer:
    """Return a producer that sends what it is given once, and tells when nobody knows whether it has arrived.

    The library would send a batch again by itself whose acknowledgement was lost, and Kafka would have it twice.
    """
    made = AIOKafkaProducer(
        bootstrap_servers=options.broker,
        acks="all",
        max_request_size=options.kafka_max_request_size,
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=METADATA_MS,
        client_id="tksva_q",
    )
    made._message_accumulator._batch_ttl = 0.0  # what is older is not tried again
    return made


def follower(options: ParserSettings) -> AIOKafkaConsumer:
    """Return a consumer that is told which partitions to read, and commits under the group's name."""
    return AIOKafkaConsumer(
        bootstrap_servers=options.broker,
        group_id=options.kafka_tasks_consumer_group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=METADATA_MS,
        client_id="tksva_q",
    )


def reader(options: ParserSettings) -> AIOKafkaConsumer:
    """Return a consumer outside of any group, for looking."""
    return AIOKafkaConsumer(
        bootstrap_servers=options.broker,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=REQUEST_MS,
        client_id="tksva_q",
    )


@contextlib.asynccontextmanager
async def opened(client: Any, runtime: Runtime, seconds: float) -> AsyncIterator[None]:
    """Connect a client within so many seconds, and close it at the end."""
    try:
        await wanted(runtime, client.start(), seconds)
        yield
    finally:
        with contextlib.suppress(Exception):  # a client that cannot even be closed ends with the process
            await asyncio.wait_for(client.stop(), CLOSE_SECONDS)


async def wanted(runtime: Runtime, awaited: Awaitable[T], seconds: float) -> T:
    """Return what is awaited; raise KafkaAway after so many seconds, Stopped where the service is to stop."""
    task = asyncio.ensure_future(awaited)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_SECONDS)
            if not task.done() and runtime.stopping():
                raise Stopped
            if not task.done() and loop.time() > until:
                raise KafkaAway(f"Kafka не отвечает {seconds:.0f} с")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)


async def pause(runtime: Runtime, seconds: float) -> None:
    """Wait, but not longer than until the service is to stop."""
    until = asyncio.get_running_loop().time() + seconds
    while not runtime.stopping() and (left := until - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(left, LOOK_SECONDS))


class Outage:
    """What keeps a service from its work: said once, waited out with growing pauses."""

    def __init__(self, runtime: Runtime, trouble: str | None = None) -> None:
        self.trouble = trouble
        self._runtime = runtime
        self._tries = 0

    async def wait(self, trouble: str) -> None:
        """Say what is wrong, and wait a little longer each time."""
        self.trouble = trouble
        if not self._tries:
            log.error("service_waits", extra={"service": self._runtime.name, "reason": trouble})
        first, longest = RETRY_SECONDS
        self._tries = min(self._tries + 1, 10)
        await pause(self._runtime, min(longest, first * 2 ** (self._tries - 1)))

    def over(self) -> None:
        """Say that all is well again."""
        self.trouble = None
        if self._tries:
            self._tries = 0
            log.info("service_goes_on", extra={"service": self._runtime.name})


async def serving(
    runtime: Runtime, outage: Outage, serve: Callable[[], Awaitable[None]], seconds: float = SIGN_SECONDS
) -> None:
    """Serve until the service is to stop; begin again after whatever keeps from it.

    Args:
        runtime: of the service.
        outage: is told what is wrong; that it is over `serve` says.
        serve: returns, or raises, where it is to be called again.
        seconds: between two signs of life, or less.
    """
    async with _living(runtime, outage, seconds):
        while not runtime.stopping():
            try:
                await serve()
            except Stopped:
                return
            except (KafkaError, KafkaAway, OSError) as error:
                await outage.wait(f"Kafka недоступна: {one_line(error)}")
            except DatabaseAway as error:
                await outage.wait(f"база данных недоступна: {one_line(error)}")


@contextlib.asynccontextmanager
async def _living(runtime: Runtime, outage: Outage, seconds: float) -> AsyncIterator[None]:
    """Give the service's signs of life while the block runs, every so many seconds or more often."""

    async def sign() -> None:
        while True:
            await asyncio.to_thread(runtime.alive, outage.trouble)
            await asyncio.sleep(min(seconds, SIGN_SECONDS))

    signing = asyncio.create_task(sign())
    try:
        yield
    finally:
        signing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await signing
