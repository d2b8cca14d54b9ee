"""RabbitMQ as the broker: a durable, bounded queue, one message at a time, over a connection that breaks for good."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from taskiq import AckableMessage
from taskiq.utils import maybe_awaitable

import broker_rabbitmq
import brokers
from broker_rabbitmq import RabbitBroker
from faults.rabbitmq import RabbitMQ
from settings import Settings
from tests.dispatch.servers import message

# The broker starts within the first test's time.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def server(rabbitmq: RabbitMQ) -> RabbitMQ:
    """The broker of the session, its queue empty."""
    rabbitmq.purge()
    return rabbitmq


async def take(broker: object, count: int, *, acknowledge: bool) -> list[bytes]:
    """Listen until so many messages have come; without an acknowledgement only the first one does."""
    assert isinstance(broker, RabbitBroker)
    taken: list[AckableMessage] = []
    async with asyncio.timeout(30), aclosing(broker.listen()) as given:
        while len(taken) < count:
            taken.append(await anext(given))
            if acknowledge:
                await maybe_awaitable(taken[-1].ack())
    return [each.data for each in taken]


def test_a_restart_of_the_server_loses_no_message(server: RabbitMQ) -> None:
    settings = Settings(broker_url=server.url)

    async def send() -> None:
        async with brokers.connected(settings) as broker:
            for number in range(3):
                await broker.kick(message(number))

    async def receive() -> list[bytes]:
        async with brokers.connected(settings, listens=True) as broker:
            return await take(broker, 3, acknowledge=True)

    asyncio.run(send())
    server.stop()
    server.start()
    assert asyncio.run(receive()) == [b"0", b"1", b"2"]
    assert server.waiting() == 0


def test_a_message_that_nobody_acknowledged_is_given_to_another(server: RabbitMQ) -> None:
    settings = Settings(broker_url=server.url)

    async def send_and_leave() -> list[bytes]:
        async with brokers.connected(settings, listens=True) as broker:
            for number in range(3):
                await broker.kick(message(number))
            return await take(broker, 1, acknowledge=False)

    async def receive() -> list[bytes]:
        async with brokers.connected(settings, listens=True) as broker:
            return await take(broker, 3, acknowledge=True)

    assert asyncio.run(send_and_leave()) == [b"0"]
    assert sorted(asyncio.run(receive())) == [b"0", b"1", b"2"]


def test_whoever_listens_is_given_one_message_at_a_time(server: RabbitMQ) -> None:
    settings = Settings(broker_url=server.url)

    async def talk() -> tuple[bytes, list[bytes]]:
        async with brokers.connected(settings, listens=True) as one, brokers.connected(settings, listens=True) as other:
            for number in range(3):
                await one.kick(message(number))
            assert isinstance(one, RabbitBroker)
            async with asyncio.timeout(30), aclosing(one.listen()) as given:
                held = await anext(given)  # neither acknowledged nor given back
                return held.data, await take(other, 2, acknowledge=True)

    assert asyncio.run(talk()) == (b"0", [b"1", b"2"])


def test_the_oldest_messages_go_where_there_are_too_many(server: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(broker_rabbitmq._BOUNDED, "x-max-length", 3)

    async def talk() -> list[bytes]:
        async with brokers.connected(Settings(broker_url=server.url), listens=True) as broker:
            for number in range(5):
                await broker.kick(message(number))
            return await take(broker, 3, acknowledge=True)

    try:
        assert asyncio.run(talk()) == [b"2", b"3", b"4"]
    finally:
        server.purge()  # another bound is another queue


def test_a_connection_that_breaks_is_lost_and_a_new_broker_takes_its_place(server: RabbitMQ) -> None:
    settings = Settings(broker_url=server.url)

    async def talk() -> None:
        async with brokers.connected(settings) as broker:
            assert isinstance(broker, RabbitBroker)
            assert not broker.lost
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(60):
                while not broker.lost:
                    await asyncio.sleep(0.01)

    try:
        asyncio.run(talk())
    finally:
        server.start()
    brokers.check(settings)


def test_a_connection_cut_without_a_word_is_noticed_unless_the_url_says_when() -> None:
    broker = broker_rabbitmq.open_broker("amqp://127.0.0.1/")
    assert broker.url == f"amqp://127.0.0.1/?heartbeat={broker_rabbitmq.HEARTBEAT_SECONDS}"
    assert broker_rabbitmq.open_broker("amqp://127.0.0.1/?heartbeat=30").url == "amqp://127.0.0.1/?heartbeat=30"
    assert broker.lost  # nobody has connected it yet
