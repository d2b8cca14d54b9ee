"""NATS as the broker: a stream that forgets what was acknowledged, over a connection that breaks for good."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

import brokers
from broker_nats import NatsBroker
from db import Database
from settings import Settings
from tests.database import Queries
from tests.dispatch.conftest import Start
from tests.dispatch.servers import Server, broker_url, hands_jobs_out, message, server

__all__ = ["broker_url", "server"]

KIND = "nats"

pytestmark = pytest.mark.timeout(180)


def test_it_hands_jobs_out_as_rabbitmq_does(start: Start, own: Database, sql: Queries, server: Server) -> None:
    hands_jobs_out(start, own, sql, server)


def test_what_was_acknowledged_is_forgotten_and_the_rest_is_kept(server: Server) -> None:
    async def talk() -> tuple[bytes, int, int]:
        async with brokers.connected(Settings(broker_url=server.url), listens=True) as broker:
            assert isinstance(broker, NatsBroker)
            for number in range(3):
                await broker.kick(message(number))
            before = await broker.js.stream_info(brokers.QUEUE)
            async with asyncio.timeout(30), aclosing(broker.listen()) as given:
                first = await anext(given)
                await first.ack()
                after = before
                while after.state.messages == before.state.messages:  # an acknowledgement is not answered
                    after = await broker.js.stream_info(brokers.QUEUE)
            assert before.config.max_msgs == brokers.MOST_MESSAGES
            return first.data, before.state.messages, after.state.messages

    assert asyncio.run(talk()) == (b"0", 3, 2)


def test_a_connection_that_breaks_is_lost_and_a_new_broker_takes_its_place(server: Server) -> None:
    async def talk() -> None:
        async with brokers.connected(Settings(broker_url=server.url)) as broker:
            assert isinstance(broker, NatsBroker)
            assert not broker.lost
            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(30):
                while not broker.lost:
                    await asyncio.sleep(0.01)

    asyncio.run(talk())
    server.start()
    brokers.check(Settings(broker_url=server.url))
