"""Waiting for Kafka: within limits, and not beyond the service's end."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import child
from integrations.parsers.kafka import KafkaAway, Outage, Stopped, pause, wanted
from services import Runtime
from tests.daemons import make_settings

#: Seconds that nothing here lasts.
LONG = 600.0


@pytest.fixture
def daemon() -> Iterator[tuple[Connection, Connection]]:
    """The daemon's end of a service's channel, and the service's own."""
    ends = multiprocessing.Pipe()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def runtime(daemon: tuple[Connection, Connection], tmp_path: Path) -> Runtime:
    """Of a service that needs no database."""
    return Runtime(daemon[1], "test", "", make_settings("", tmp_path), "")


async def never() -> None:
    await asyncio.Event().wait()


def test_what_is_wanted_is_returned_with_its_errors(runtime: Runtime) -> None:
    async def fail() -> None:
        raise OSError("нет связи")

    assert asyncio.run(wanted(runtime, asyncio.sleep(0, "ответ"), LONG)) == "ответ"
    with pytest.raises(OSError, match="нет связи"):
        asyncio.run(wanted(runtime, fail(), LONG))


def test_an_answer_that_does_not_come_in_time_is_kafka_being_away(runtime: Runtime) -> None:
    with pytest.raises(KafkaAway, match="Kafka не отвечает 0 с"):
        asyncio.run(wanted(runtime, never(), 0.0))


def test_a_service_that_is_to_stop_waits_for_nothing(runtime: Runtime, daemon: tuple[Connection, Connection]) -> None:
    daemon[0].send(child.Stop())
    with pytest.raises(Stopped):
        asyncio.run(wanted(runtime, never(), LONG))
    asyncio.run(asyncio.wait_for(pause(runtime, LONG), 30))


def test_an_outage_is_said_once_and_so_is_its_end(
    runtime: Runtime, daemon: tuple[Connection, Connection], caplog: pytest.LogCaptureFixture
) -> None:
    daemon[0].send(child.Stop())  # nothing is waited for
    caplog.set_level("INFO")
    outage = Outage(runtime)
    for trouble in ("один", "два"):
        asyncio.run(outage.wait(trouble))
        assert outage.trouble == trouble
    for _ in range(2):
        outage.over()
        assert outage.trouble is None
    assert [record.getMessage() for record in caplog.records if "service_" in record.getMessage()] == [
        "service_waits",
        "service_goes_on",
    ]
