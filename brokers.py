"""The broker that BROKER_URL names, through TaskIQ: what jobs are handed out over, and the name that they have there.

Only the ids of jobs travel over it. TaskIQ and the clients are imported where a broker is opened: an installation
on one machine needs none of them.
"""

import asyncio
import contextlib
import importlib
import logging
import random
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from db import unforeseen
from errors import QueueError, SettingsError
from logs import log
from settings import Settings

if TYPE_CHECKING:
    from taskiq import AsyncBroker

#: What queues, lists and streams are called in the broker, and what the message asks a worker to run.
QUEUE: Final = "tksva_q"
TASK: Final = "tksva_q.run"
#: Messages that a broker keeps at most; it loses nothing with the older ones, for the database knows what waits.
MOST_MESSAGES: Final = 10_000
#: Seconds to reach the broker, and to say goodbye to it; one that is just starting takes connections and says nothing.
CONNECT_SECONDS: Final = 3.0
CLOSE_SECONDS: Final = 1.0
#: Seconds between two tries to reach it: from the first to the longest.
_RECONNECT_SECONDS = (0.1, 1.0)

#: Clients that say at each try, in many lines, what is said once an outage here.
_TALKATIVE = ("aio_pika", "aiormq", "nats")

_MODULES = {
    "amqp": "broker_rabbitmq",
    "amqps": "broker_rabbitmq",
    "redis": "broker_redis",
    "rediss": "broker_redis",
    "nats": "broker_nats",
}


def make(settings: Settings) -> "AsyncBroker":
    """Return the broker, not connected yet.

    Raises:
        SettingsError: its client is not installed, or the URL makes no sense to it.
    """
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    url = settings.broker_url.get_secret_value() if settings.broker_url else ""
    try:
        broker: AsyncBroker = importlib.import_module(_MODULES[url.partition(":")[0]]).open_broker(url)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"BROKER_URL: не установлена библиотека {error.name}; пример: pip install -r requirements-broker.txt"
        ) from None
    except (KeyError, ValueError):
        raise SettingsError(
            "BROKER_URL: клиент брокера не понял URL; пример: BROKER_URL=amqp://user:password@127.0.0.1:5672/"
        ) from None
    return broker


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, listens: bool = False) -> "AsyncIterator[AsyncBroker]":
    """Connect to the broker, with its queue declared; whatever its client raises says that it is away.

    Args:
        settings: of this installation.
        listens: whether messages are taken out of it.
    """
    broker = make(settings)
    broker.is_worker_process = listens
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await broker.startup()
        yield broker
    finally:
        closing = asyncio.ensure_future(broker.shutdown())
        _closing.add(closing)
        closing.add_done_callback(_closed)
        # Longer than that it goes on by itself: cut short, it would leave a connection that messages are sent to.
        await asyncio.wait({closing}, timeout=CLOSE_SECONDS)


_closing: set["asyncio.Future[None]"] = set()


def _closed(closing: "asyncio.Future[None]") -> None:
    _closing.discard(closing)
    if not closing.cancelled():
        closing.exception()  # of a broker that is away leave cannot be taken well


class Outage:
    """What is said of a broker that goes away and comes back, and the pauses between the tries to reach it."""

    def __init__(self) -> None:
        self._tries = 0

    def away(self, error: Exception) -> float:
        """Say once why it is away; return the seconds before the next try."""
        if not self._tries:
            log.error("broker_away", extra={"reason": reason(error)})
        first, longest = _RECONNECT_SECONDS
        pause = min(longest, first * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return pause * random.uniform(0.7, 1.3)  # noqa: S311 -- jitter, not a secret

    def over(self) -> None:
        """Say that it is there."""
        log.info("broker_back" if self._tries else "broker_connected")
        self._tries = 0


def check(settings: Settings) -> None:
    """Connect once and go again.

    Raises:
        QueueError: the broker cannot be reached.
    """

    async def connect() -> None:
        async with connected(settings):
            pass

    try:
        asyncio.run(connect())
    except QueueError:
        raise
    except Exception as error:
        raise QueueError(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return in one line why the broker is away: what lies behind TaskIQ's own error, where there is something."""
    if isinstance(error, TimeoutError):
        return "не отвечает"
    return unforeseen(error.__cause__ or error)
