"""The service that follows the statuses: batches from Kafka into the database, and only then their offsets to Kafka.

Where to read on, and who reads what, the database says (`inbox.py`, `shares.py`). Kafka is told the offsets under the
name of the consumer group, for whoever watches the group's lag.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from db import Database, DatabaseAway, one_line
from integrations.parsers import inbox, shares
from integrations.parsers.inbox import Message, Span
from integrations.parsers.kafka import KafkaAway, Outage, follower, opened, pause, serving, wanted
from integrations.parsers.settings import ParserSettings
from logs import log
from services import Runtime
from settings import load_part

#: Milliseconds that a look for messages takes where there are none; a single one is there at once.
POLL_MS = 500
#: Seconds between two commits of offsets to Kafka, and that connecting and asking Kafka may take.
COMMIT_SECONDS = 0.5
CONNECT_SECONDS, ASK_SECONDS = 10.0, 5.0
#: Seconds after which a message that should be there is not.
GONE_SECONDS = 4.0
#: Seconds between two looks at the shares, at Kafka itself, and for a topic that is not there yet.
SHARE_SECONDS, LOOK_SECONDS, ABSENT_SECONDS = 2.0, 3.0, 0.5


def run(runtime: Runtime) -> None:
    """Follow the statuses until the service is to stop."""
    asyncio.run(Consumer(runtime).run())


class Consumer:
    """The reader of one daemon."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.options = load_part(ParserSettings)
        self.topic = self.options.kafka_task_status_topic
        self.database: Database = runtime.database
        self.outage = Outage(runtime, "подключается к Kafka")
        self._joined: object = None  # the connection that holds the locks
        self._held: set[int] = set()  # partitions
        self._positions: dict[int, int] = {}  # partition -> where to read on, as the database has it
        self._committed: dict[int, int] = {}  # partition -> what Kafka was told
        self._ends: dict[int, int] = {}  # partition -> where it ends, as the database has it
        self._doubted: set[TopicPartition] = set()  # whose end is said to lie before where they were read to
        self._commit_at = self._share_at = 0.0

    async def run(self) -> None:
        """Serve, and begin again after whatever keeps from it."""
        await serving(self.runtime, self.outage, self._serve, self.options.kafka_heartbeat_interval_ms / 1000)

    async def _serve(self) -> None:
        """Read and apply until the service is to stop, or something breaks."""
        await asyncio.to_thread(self._join)
        consumer = follower(self.options)
        self._forget()
        async with opened(consumer, self.runtime, CONNECT_SECONDS):
            if not consumer.partitions_for_topic(self.topic):  # known from the connecting alone
                await self._await_topic(consumer)
                return
            looking = asyncio.create_task(self._look(consumer))
            try:
                while not self.runtime.stopping():
                    await self._turn(consumer)
                await self._commit(consumer, at_once=True)
            finally:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking

    async def _await_topic(self, consumer: AIOKafkaConsumer) -> None:
        """Wait until somebody has sent the first status of all."""
        known: set[str] = set()
        while self.topic not in known and not self.runtime.stopping():
            self.outage.over()
            await pause(self.runtime, ABSENT_SECONDS)
            known = await wanted(self.runtime, consumer.topics(), ASK_SECONDS)

    def _forget(self) -> None:
        self._positions.clear()
        self._ends.clear()
        self._committed.clear()
        self._share_at = 0.0

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        """Apply one batch; share out and look up what is new."""
        if time.monotonic() >= self._share_at:
            await self._share(consumer)
        if self._held - self._positions.keys():
            await self._take_up(consumer)
            self.outage.over()
        if not self._positions:
            await pause(self.runtime, SHARE_SECONDS / 2)
            return
        timeout = min(self.options.kafka_default_bulk_timeout, POLL_MS)
        found = await consumer.getmany(timeout_ms=timeout, max_records=self.options.kafka_default_bulk_size)
        spans, messages = self._batch(consumer, found)
        if spans:
            await self._apply(spans, messages)
        else:
            await self._rest(consumer)
        await self._commit(consumer, at_once=not spans)

    # --- who reads what, and from where on ----------------------------------------------------------------------------

    async def _share(self, consumer: AIOKafkaConsumer) -> None:
        """Take this consumer's share of the partitions."""
        self._share_at = time.monotonic() + SHARE_SECONDS
        partitions = set(consumer.partitions_for_topic(self.topic) or ())
        if not partitions:
            raise KafkaAway(f"топика {self.topic} больше нет")
        held = await asyncio.to_thread(self._take_share, partitions)
        assigned = {place.partition for place in consumer.assignment()}
        if held != assigned:
            consumer.assign([TopicPartition(self.topic, number) for number in sorted(held)])
            self._positions.clear()  # the library has forgotten them, too
            log.info("partitions_taken", extra={"topic": self.topic, "partitions": ",".join(map(str, sorted(held)))})

    async def _take_up(self, consumer: AIOKafkaConsumer) -> None:
        """Go where the database has read to, in the partitions of which that is not known."""
        known = await asyncio.to_thread(self._offsets)
        new = [TopicPartition(self.topic, number) for number in self._held - self._positions.keys()]
        first = await wanted(self.runtime, consumer.beginning_offsets(new), ASK_SECONDS)
        last = await wanted(self.runtime, consumer.end_offsets(new), ASK_SECONDS)
        starts: dict[TopicPartition, int] = {}
        for place in new:
            start = known.get(place.partition)
            if start is None:  # what an older manager has committed is done
                told = await wanted(self.runtime, consumer.committed(place), ASK_SECONDS)
                start = first[place] if told is None else min(max(told, first[place]), last[place])
                await asyncio.to_thread(self._begin, {place.partition: start})
            starts[place] = start
        beyond = {place: start for place, start in starts.items() if start > last[place] or place in self._doubted}
        for place in await self._gone(consumer, beyond):
            log.warning("topic_anew", extra={"partition": f"{self.topic}/{place.partition}", "offset": starts[place]})
            await asyncio.to_thread(self._begin_anew, place.partition, starts[place], first[place])
            starts[place] = first[place]
        for place, start in starts.items():
            consumer.seek(place, start)
            self._positions[place.partition] = start
        self._doubted.clear()

    async def _gone(self, consumer: AIOKafkaConsumer, beyond: dict[TopicPartition, int]) -> set[TopicPartition]:
        """Return the partitions whose last message that was applied is not there: they were made anew.

        That a partition is said to end earlier proves nothing: who leads it since a moment ago may not know better.
        """
        left = {place for place, start in beyond.items() if start > 0}
        for place in left:
            consumer.seek(place, beyond[place] - 1)
        until = time.monotonic() + GONE_SECONDS
        while left and time.monotonic() < until and not self.runtime.stopping():
            found = await consumer.getmany(*left, timeout_ms=POLL_MS, max_records=1)
            left -= {place for place, records in found.items() if records[0].offset == beyond[place] - 1}
        return set() if self.runtime.stopping() else left

    # --- one batch ----------------------------------------------------------------------------------------------------

    def _batch(
        self, consumer: AIOKafkaConsumer, found: dict[TopicPartition, Sequence[ConsumerRecord]]
    ) -> tuple[list[Span], list[Message]]:
        """Return what was read, without what does not go on from where a partition was known to be."""
        spans: list[Span] = []
        messages: list[Message] = []
        for place, records in found.items():
            position = self._positions.get(place.partition)
            if position is None or not records:
                continue
            if records[0].offset < position:  # the topic was made anew, and the library began at its beginning
                del self._positions[place.partition]
                continue
            following = records[-1].offset + 1
            end = max(following, consumer.highwater(place) or 0)
            spans.append(Span(self.topic, place.partition, position, following, end))
            messages += [Message(self.topic, one.partition, one.offset, one.key, one.value) for one in records]
        return spans, messages

    async def _rest(self, consumer: AIOKafkaConsumer) -> None:
        """Note where the partitions end; doubt those that end before they were read to."""
        ends = {number: consumer.highwater(TopicPartition(self.topic, number)) for number in self._positions}
        known = {number: end for number, end in ends.items() if end is not None}
        for number, end in known.items():
            if end < self._positions[number]:
                self._doubted.add(TopicPartition(self.topic, number))
                del self._positions[number]
        news = {number: end for number, end in known.items() if self._ends.get(number) != end}
        if news:
            await asyncio.to_thread(self._note_ends, news)
            self._ends |= news

    async def _apply(self, spans: list[Span], messages: list[Message]) -> None:
        try:
            counts = await asyncio.to_thread(self._write, spans, messages)
        except inbox.OffsetsMoved:
            log.warning("offsets_moved", extra={"topic": self.topic})
            self._forget()
            return
        self._positions |= {span.partition: span.next for span in spans}
        log.debug("statuses_applied", extra=vars(counts))

    async def _commit(self, consumer: AIOKafkaConsumer, *, at_once: bool) -> None:
        """Tell Kafka how far the database is; what it cannot be told now it is told later."""
        news = {number: offset for number, offset in self._positions.items() if self._committed.get(number) != offset}
        if not news or (not at_once and time.monotonic() < self._commit_at):
            return
        self._commit_at = time.monotonic() + COMMIT_SECONDS
        try:
            places = {TopicPartition(self.topic, number): offset for number, offset in news.items()}
            await wanted(self.runtime, consumer.commit(places), ASK_SECONDS)
            self._committed |= news
        except (KafkaError, KafkaAway) as error:
            log.debug("offsets_not_committed", extra={"reason": one_line(error)})

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Ask Kafka something all the time: whether it is there, the library tells nobody."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            places = list(consumer.assignment())
            try:
                await asyncio.wait_for(consumer.end_offsets(places), ASK_SECONDS)
            except (KafkaError, TimeoutError, OSError) as error:
                self.outage.trouble = f"Kafka недоступна: {one_line(error)}"
            else:
                self.outage.over()

    # --- the database, from a thread: Kafka must be answered meanwhile ------------------------------------------------

    def _join(self) -> None:
        connection = self.database.connect()
        if connection is not self._joined:
            self._held = set()
            with self.database.statement() as cursor:
                shares.join(cursor, self.topic)
            self._joined = connection

    def _check(self) -> None:
        """Begin anew where the connection broke: the locks have gone with it."""
        if self.database.connect() is not self._joined:
            raise DatabaseAway("the connection was lost, and the partitions with it")

    def _take_share(self, partitions: set[int]) -> set[int]:
        self._check()
        with self.database.statement() as cursor:
            self._held = shares.share(cursor, self.topic, partitions, self._held)
        return self._held

    def _write(self, spans: list[Span], messages: list[Message]) -> inbox.Counts:
        self._check()
        with self.database.transaction() as cursor:
            return inbox.apply(cursor, spans, messages)

    def _offsets(self) -> dict[int, int]:
        self._check()
        with self.database.statement() as cursor:
            return inbox.offsets(cursor, self.topic)

    def _begin(self, starts: dict[int, int]) -> None:
        with self.database.statement() as cursor:
            inbox.begin(cursor, self.topic, starts)

    def _begin_anew(self, partition: int, believed: int, start: int) -> None:
        with self.database.statement() as cursor:
            inbox.begin_anew(cursor, self.topic, partition, believed, start)

    def _note_ends(self, ends: dict[int, int]) -> None:
        with self.database.statement() as cursor:
            inbox.note_ends(cursor, self.topic, ends)
