"""Redis as the broker: a bounded list, over connections that make themselves anew."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
import redis.exceptions

import broker_redis
import brokers
from db import Database
from settings import Settings
from tests.database import Queries
from tests.dispatch.conftest import Start
from tests.dispatch.servers import Server, broker_url, hands_jobs_out, message, server

__all__ = ["broker_url", "server"]

KIND = "redis"

pytestmark = pytest.mark.timeout(180)


def test_it_hands_jobs_out_as_rabbitmq_does(start: Start, own: Database, sql: Queries, server: Server) -> None:
    hands_jobs_out(start, own, sql, server)


def test_messages_keep_their_order_and_the_oldest_go_where_there_are_too_many(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_redis, "MOST_MESSAGES", 3)

    async def talk() -> list[bytes]:
        async with brokers.connected(Settings(broker_url=server.url)) as broker:
            for number in range(5):
                await broker.kick(message(number))
            async with asyncio.timeout(30), aclosing(broker.listen()) as given:  # type: ignore[type-var]
                return [await anext(given) for _ in range(3)]  # type: ignore[misc]

    assert asyncio.run(talk()) == [b"2", b"3", b"4"]


def test_a_server_that_was_started_anew_is_talked_to_by_the_same_broker(server: Server) -> None:
    async def talk() -> bytes:
        async with brokers.connected(Settings(broker_url=server.url)) as broker:
            await broker.kick(message(1))
            server.stop()
            with pytest.raises(redis.exceptions.ConnectionError):
                await broker.kick(message(2))
            await asyncio.to_thread(server.start)
            await broker.kick(message(3))
            async with asyncio.timeout(30), aclosing(broker.listen()) as given:  # type: ignore[type-var]
                return await anext(given)  # type: ignore[return-value]

    assert asyncio.run(talk()) == b"1"
