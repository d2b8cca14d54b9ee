"""Redis: a list. What a worker takes along when it is killed is sent again by the database."""

import socket
from collections.abc import AsyncGenerator

from redis.asyncio import Redis
from taskiq import BrokerMessage
from taskiq_redis import ListQueueBroker

from brokers import CONNECT_SECONDS, MOST_MESSAGES, QUEUE

#: Seconds that one call waits for a message; the next one follows at once.
POP_SECONDS = 2
_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}


class RedisBroker(ListQueueBroker):
    """TaskIQ's broker for a list in Redis."""

    #: A connection is made anew by every call that finds it broken.
    lost = False

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            queue_name=QUEUE,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=POP_SECONDS + CONNECT_SECONDS,
            socket_keepalive=True,
            socket_keepalive_options=_KEEPALIVE,
        )

    async def startup(self) -> None:
        """Find out whether the server is there, and is no replica that may only be read: the list makes itself."""
        await super().startup()
        async with Redis(connection_pool=self.connection_pool) as redis:
            await redis.ltrim(QUEUE, 0, MOST_MESSAGES - 1)

    async def kick(self, message: BrokerMessage) -> None:
        """Append a message to the list; where that has grown too long, the oldest go."""
        async with Redis(connection_pool=self.connection_pool) as redis, redis.pipeline(transaction=False) as both:
            both.lpush(QUEUE, message.message)
            both.ltrim(QUEUE, 0, MOST_MESSAGES - 1)
            await both.execute()

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Give one message after the other, in the order in which they came."""
        async with Redis(connection_pool=self.connection_pool) as redis:
            while True:
                popped = await redis.brpop([QUEUE], timeout=POP_SECONDS)
                if popped is not None:
                    yield popped[1]  # type: ignore[misc]  # nobody has asked for text


def open_broker(url: str) -> RedisBroker:
    """Return the broker at a URL, not connected yet."""
    return RedisBroker(url)
