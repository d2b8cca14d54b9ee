"""RabbitMQ: a durable quorum queue, every message confirmed."""

import asyncio
from collections.abc import AsyncGenerator

from aio_pika import Connection, ExchangeType
from taskiq import AckableMessage, AsyncBroker
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue
from yarl import URL

from brokers import CONNECT_SECONDS, MOST_MESSAGES, QUEUE

#: Seconds between two signs of life; a connection that was cut without a word is given up after three.
HEARTBEAT_SECONDS = 5
_BOUNDED = {"x-max-length": MOST_MESSAGES}


class RabbitBroker(AioPikaBroker):
    """TaskIQ's broker for RabbitMQ, on a connection that breaks for good: whoever uses it makes another one.

    Of several ways to come back from an outage one is enough, and this one declares everything anew.
    """

    def __init__(self, url: str) -> None:
        asked = URL(url)
        if "heartbeat" not in asked.query:
            asked = asked.update_query(heartbeat=HEARTBEAT_SECONDS)
        super().__init__(
            str(asked),
            exchange=Exchange(name=QUEUE, type=ExchangeType.DIRECT),
            task_queues=[Queue(name=QUEUE, arguments=dict(_BOUNDED))],
            dead_letter_queue=Queue(name=f"{QUEUE}.dead", arguments=dict(_BOUNDED)),
            connection_class=Connection,
            timeout=CONNECT_SECONDS,
        )

    @property
    def lost(self) -> bool:
        """Whether the connection has broken."""
        channel = self.write_channel
        return channel is None or channel.is_closed or self.write_conn is None or self.write_conn.is_closed

    async def shutdown(self) -> None:
        """Close both connections, whatever becomes of the other: one left open would go on being given messages.

        TaskIQ's own way says goodbye to each channel first, and stops where that gets no answer.
        """
        await AsyncBroker.shutdown(self)
        connections = [connection for connection in (self.write_conn, self.read_conn) if connection is not None]
        await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Give one message after the other; one that was delivered and not given yet goes back at the end.

        TaskIQ's own way reads ahead and would keep that one.
        """
        if self.read_channel is None:
            raise RuntimeError("not connected")
        await self.read_channel.set_qos(prefetch_count=1)
        queue = await self.read_channel.get_queue(QUEUE)
        async with queue.iterator() as messages:
            async for message in messages:
                yield AckableMessage(data=message.body, ack=message.ack)


def open_broker(url: str) -> RabbitBroker:
    """Return the broker at a URL, not connected yet."""
    return RabbitBroker(url)
