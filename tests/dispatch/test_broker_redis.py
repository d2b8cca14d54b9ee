"""Redis as the broker: a bounded list, over connections that make themselves anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
import redis
import redis.exceptions

import broker_redis
import brokers
from db import Database
from settings import Settings
from tests.daemons import Daemon
from tests.database import Queries
from tests.dispatch.conftest import Start, await_done, submit
from tests.dispatch.servers import Server, broker_url, hands_jobs_out, message, server
from tests.waiting import wait_for

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


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    """Whoever may change the server's configuration."""
    with redis.Redis(port=server.port) as client:
        yield client


def await_refusals(admin: redis.Redis, command: str, count: int = 5) -> None:
    """Wait until the server has refused a command so often."""

    def refused() -> int:
        return int(admin.info("commandstats").get(f"cmdstat_{command}", {}).get("rejected_calls", 0))  # type: ignore[union-attr]

    wait_for(lambda: refused() >= count, 60)


def told_once(process: Daemon) -> bool:
    """Whether it has said just once that the broker went away, and that it came back."""
    return [sum(word in line for line in process.lines) for word in ("broker_away", "broker_back")] == [1, 1]


@pytest.mark.parametrize(("setting", "command"), [("maxmemory", "lpush"), ("min-replicas-to-write", "ltrim")])
def test_a_server_that_takes_connections_and_no_messages_is_away_and_comes_back_once(  # noqa: PLR0913, PLR0917 -- fixtures
    start: Start, own: Database, sql: Queries, admin: redis.Redis, setting: str, command: str
) -> None:
    daemon = start(Daemon)
    admin.config_set(setting, 1)
    submit(own)
    daemon.await_line("broker_away", 60)
    await_refusals(admin, command)
    admin.config_set(setting, 0)
    daemon.await_line("broker_back", 60)
    start()
    await_done(sql, 1)
    assert told_once(daemon)


def test_a_worker_at_a_server_that_may_only_be_read_says_so_once(
    start: Start, own: Database, sql: Queries, admin: redis.Redis
) -> None:
    worker = start()
    admin.config_set("min-replicas-to-write", 1)
    worker.await_line("broker_away", 60)
    await_refusals(admin, "ltrim")
    admin.config_set("min-replicas-to-write", 0)
    worker.await_line("broker_back", 60)
    start(Daemon)
    submit(own)
    await_done(sql, 1)
    assert told_once(worker)
