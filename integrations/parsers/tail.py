"""The end of a topic of tasks: which of them have arrived when nobody has heard the acknowledgement."""

import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # type: ignore[import-untyped]

from integrations.parsers.kafka import opened, reader, wanted
from integrations.parsers.settings import ParserSettings
from services import Runtime

#: Seconds to connect, to ask, and to read.
CONNECT_SECONDS, ASK_SECONDS, READ_SECONDS = 10.0, 10.0, 30.0
#: Milliseconds that one fetch waits.
FETCH_MS = 500


async def ends(runtime: Runtime, options: ParserSettings, producer: AIOKafkaProducer, topic: str) -> dict[int, int]:
    """Return where each partition of a topic ends."""
    found = await wanted(runtime, producer.partitions_for(topic), ASK_SECONDS)
    places = [TopicPartition(topic, number) for number in found]
    consumer = reader(options)
    async with opened(consumer, runtime, CONNECT_SECONDS):
        last = await wanted(runtime, consumer.end_offsets(places), ASK_SECONDS)
    return {place.partition: offset for place, offset in last.items()}


async def keys(
    runtime: Runtime, options: ParserSettings, producer: AIOKafkaProducer, topic: str, known: dict[int, int]
) -> tuple[list[str], dict[int, int]]:
    """Return the tasks behind the offsets that are known, and where the partitions end now."""
    found = await wanted(runtime, producer.partitions_for(topic), ASK_SECONDS)
    places = [TopicPartition(topic, number) for number in found]
    consumer = reader(options)
    async with opened(consumer, runtime, CONNECT_SECONDS):
        consumer.assign(places)
        first = await wanted(runtime, consumer.beginning_offsets(places), ASK_SECONDS)
        last = await wanted(runtime, consumer.end_offsets(places), ASK_SECONDS)
        for place in places:
            start = known.get(place.partition, 0)
            # A topic that ends before what is known of it was made anew.
            consumer.seek(place, start if first[place] <= start <= last[place] else first[place])
        seen = await wanted(runtime, _read(consumer, places, last), READ_SECONDS)
        return seen, {place.partition: await consumer.position(place) for place in places}


async def _read(consumer: AIOKafkaConsumer, places: list[TopicPartition], last: dict[TopicPartition, int]) -> list[str]:
    seen: list[str] = []
    for place in places:
        while await consumer.position(place) < last[place]:
            found = await consumer.getmany(place, timeout_ms=FETCH_MS)
            seen += [task for one in found.get(place, ()) if (task := _task(one.key))]
    return seen


def _task(key: bytes | None) -> str | None:
    try:
        return str(uuid.UUID((key or b"").decode("ascii")))
    except ValueError:  # somebody else's message
        return None
