"""Which tasks have arrived is read from the end of their topic."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from faults.kafka import Broker
from integrations.parsers import kafka, tail
from integrations.parsers.settings import ParserSettings
from services import Runtime
from settings import load_part
from tests.parsers.conftest import Parsers


@pytest.mark.parametrize("key", [None, b"", b"somebody else's", "задача".encode()])
def test_a_key_that_is_no_tasks_is_somebody_elses(key: bytes | None) -> None:
    assert tail._task(key) is None


def test_the_tasks_behind_a_known_offset_are_found_and_where_the_topic_ends(
    parsers: Parsers, broker: Broker, serve: Callable[..., Any]
) -> None:
    topic = parsers.topics["rss"]
    old, new = ([str(uuid.uuid4()) for _ in range(2)] for _ in range(2))
    for task in old:  # each a batch of its own
        broker.send(topic, [(task.encode(), b"{}")])
    found: list[Any] = []

    async def look(runtime: Runtime) -> None:
        options = load_part(ParserSettings)
        producer = kafka.producer(options)
        async with kafka.opened(producer, runtime, 30):
            known = await tail.ends(runtime, options, producer, topic)
            batch = [(key, b"{}") for key in (*(task.encode() for task in new), b"somebody else's")]
            await asyncio.to_thread(broker.send, topic, batch)  # its end may be told as the place of its first message
            found.append(known)
            found.append(await tail.keys(runtime, options, producer, topic, known))
            beyond = {number: end + 1000 for number, end in known.items()}  # as if the topic had been made anew
            found.append(await tail.keys(runtime, options, producer, topic, beyond))

    with serve(lambda runtime: asyncio.run(look(runtime)), **parsers.at(broker)) as serving:
        serving._thread.join(60)
    known, (behind, end), (everything, _) = found
    assert sum(known.values()) == 2
    assert (sorted(behind), sum(end.values())) == (sorted(new), 5)
    assert sorted(everything) == sorted(old + new)
