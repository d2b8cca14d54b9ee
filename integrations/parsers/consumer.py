"""The service that follows the statuses: batches from Kafka into the database, and only then their offsets to Kafka.

Kafka's consumer group shares the partitions among the daemons. A consumer is known to the group by a name that stays
the same when it is started again, so that its successor has its partitions at once and not after the dead one's
session has run out; the names are given out by the database.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import psycopg2
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from db import Database, DatabaseAway, one_line
from errors import QueueError
from integrations.parsers import inbox
from integrations.parsers.inbox import Message, Span
from integrations.parsers.kafka import METADATA_MS, KafkaAway, Stopped, living, opened, pause, wanted
from integrations.parsers.settings import ParserSettings
from logs import log
from services import Runtime
from settings import load_part

#: Key of the advisory locks of the names in the group ("parc" in ASCII), and how many names there are.
NAME_LOCK = 0x70617263
MOST_NAMES = 1000
#: Milliseconds that a look for messages takes where there are none; a single one is there at once.
POLL_MS = 500
#: Seconds between two commits of offsets to Kafka, and that joining the group and asking Kafka may take.
COMMIT_SECONDS = 0.5
JOIN_SECONDS = 120.0
ASK_SECONDS = 5.0
#: Seconds between two looks where the partitions end.
LOOK_SECONDS = 3.0
#: Seconds before Kafka or the database is tried again: from the first pause to the longest.
RETRY_SECONDS = (0.5, 5.0)

JOINING = "подключается к Kafka"


def run(runtime: Runtime) -> None:
    """Follow the statuses until the service is to stop."""
    asyncio.run(Consumer(runtime).run())


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # the library tells no types
    """Forgets where the partitions were read that the group takes away."""

    def __init__(self, forget: Any) -> None:
        self._forget = forget

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        """Forget all of them: those that are left are looked up again."""
        self._forget()

    def on_partitions_assigned(self, _assigned: set[TopicPartition]) -> None:
        """Do nothing: what is not known is looked up."""


class Consumer:
    """One member of the group."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.options = load_part(ParserSettings)
        self.topic = self.options.kafka_task_status_topic
        self.database: Database = runtime.database
        self.trouble: str | None = JOINING
        self._named: object = None  # the connection that holds the name
        self._positions: dict[int, int] = {}  # partition -> where to read on, as the database has it
        self._committed: dict[int, int] = {}  # partition -> what Kafka was told
        self._commit_at = 0.0
        self._ends: dict[int, int] = {}

    async def run(self) -> None:
        """Serve, and begin again after whatever keeps from it."""
        tries = 0
        async with living(self.runtime, lambda: self.trouble):
            while not self.runtime.stopping():
                try:
                    await self._serve()
                except Stopped:
                    return
                except (KafkaError, KafkaAway, OSError) as error:
                    self.trouble = f"Kafka недоступна: {one_line(error)}"
                except (DatabaseAway, psycopg2.Error) as error:
                    self.trouble = f"база данных недоступна: {one_line(error)}"
                else:
                    continue
                if not tries:
                    log.error("consumer_waits", extra={"reason": self.trouble})
                first, longest = RETRY_SECONDS
                await pause(self.runtime, min(longest, first * 2**tries))
                tries = min(tries + 1, 10)

    async def _serve(self) -> None:
        """Read and apply until the service is to stop, or something breaks."""
        name = await asyncio.to_thread(self._name)
        consumer = self._make(name)
        self._forget()
        async with opened(consumer, self.runtime, JOIN_SECONDS):
            log.info("consumer_joined", extra={"name": name, "partitions": len(consumer.assignment())})
            self.trouble = None
            looking = asyncio.create_task(self._look(consumer))
            try:
                while not self.runtime.stopping():
                    await self._turn(consumer)
                await self._commit(consumer, at_once=True)
            finally:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking

    def _make(self, name: str) -> AIOKafkaConsumer:
        options = self.options
        consumer = AIOKafkaConsumer(
            bootstrap_servers=options.broker,
            group_id=options.kafka_tasks_consumer_group,
            group_instance_id=name,
            client_id="tksva_q",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            heartbeat_interval_ms=min(options.kafka_heartbeat_interval_ms, options.kafka_session_timeout_ms // 3),
            session_timeout_ms=options.kafka_session_timeout_ms,
            metadata_max_age_ms=METADATA_MS,
        )
        consumer.subscribe([self.topic], listener=_Rebalance(self._forget))
        return consumer

    def _forget(self) -> None:
        self._positions.clear()
        self._committed.clear()

    # --- the name in the group ----------------------------------------------------------------------------------------

    def _name(self) -> str:
        """Return a name that no other consumer of this database has, for as long as the connection lives."""
        connection = self.database.connect()
        with self.database.statement() as cursor:
            for number in range(MOST_NAMES):
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (NAME_LOCK, number))
                if (cursor.fetchone() or (False,))[0]:
                    self._named = connection
                    return f"{self.options.kafka_tasks_consumer_group}-{number}"
        raise QueueError(f"there are {MOST_NAMES} consumers already")

    def _check_name(self) -> None:
        """Let the service begin anew where the connection broke, and the name may be another's."""
        if self.database.connect() is not self._named:
            raise DatabaseAway("the connection was lost, and the name in the group with it")

    # --- one batch ----------------------------------------------------------------------------------------------------

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        await self._take_up(consumer)
        timeout = min(self.options.kafka_default_bulk_timeout, POLL_MS)
        found = await consumer.getmany(timeout_ms=timeout, max_records=self.options.kafka_default_bulk_size)
        spans, messages = self._batch(consumer, found)
        if spans:
            try:
                counts = await asyncio.to_thread(self._apply, spans, messages)
            except inbox.OffsetsMoved:
                log.warning("offsets_moved", extra={"topic": self.topic})
                self._forget()
                return
            except (DatabaseAway, psycopg2.Error):
                self._forget()  # nobody knows whether it was applied
                raise
            self._positions |= {span.partition: span.next for span in spans}
            log.debug("statuses_applied", extra=vars(counts))
        elif self._ends:
            ends, self._ends = self._ends, {}
            await asyncio.to_thread(self._note_ends, ends)
        await self._commit(consumer, at_once=not spans)

    async def _take_up(self, consumer: AIOKafkaConsumer) -> None:
        """Go where the database has read to, in the partitions that are new to this consumer."""
        new = [place for place in consumer.assignment() if place.partition not in self._positions]
        if not new:
            return
        known = await asyncio.to_thread(self._offsets)
        first = await wanted(self.runtime, consumer.beginning_offsets(new), ASK_SECONDS)
        last = await wanted(self.runtime, consumer.end_offsets(new), ASK_SECONDS)
        for place in new:
            start, partition = known.get(place.partition), place.partition
            if start is None:  # what an older manager has committed is done
                told = await wanted(self.runtime, consumer.committed(place), ASK_SECONDS)
                start = first[place] if told is None else min(max(told, first[place]), last[place])
                await asyncio.to_thread(self._begin, {partition: start})
            elif start > last[place]:
                log.warning("topic_anew", extra={"topic": self.topic, "partition": partition, "offset": start})
                await asyncio.to_thread(self._begin_anew, partition, start, first[place])
                start = first[place]
            if place in consumer.assignment():
                consumer.seek(place, start)
                self._positions[partition] = start

    def _batch(
        self, consumer: AIOKafkaConsumer, found: dict[TopicPartition, Sequence[ConsumerRecord[Any, Any]]]
    ) -> tuple[list[Span], list[Message]]:
        """Return what was read, without what does not go on from where a partition was known to be."""
        spans: list[Span] = []
        messages: list[Message] = []
        for place, records in found.items():
            position = self._positions.get(place.partition)
            if position is None or not records:
                continue
            if records[0].offset < position:
                del self._positions[place.partition]
                continue
            following = records[-1].offset + 1
            end = max(following, consumer.highwater(place) or 0)
            spans.append(Span(self.topic, place.partition, position, following, end))
            messages += [Message(self.topic, one.partition, one.offset, one.key, one.value) for one in records]
        return spans, messages

    async def _commit(self, consumer: AIOKafkaConsumer, *, at_once: bool) -> None:
        """Tell Kafka how far the database is; who cannot be told now is told later."""
        news = {part: offset for part, offset in self._positions.items() if self._committed.get(part) != offset}
        if not news or (not at_once and time.monotonic() < self._commit_at):
            return
        self._commit_at = time.monotonic() + COMMIT_SECONDS
        places = {TopicPartition(self.topic, part): offset for part, offset in news.items()}
        places = {place: offset for place, offset in places.items() if place in consumer.assignment()}
        try:
            await wanted(self.runtime, consumer.commit(places), ASK_SECONDS)
            self._committed |= news
        except (KafkaError, KafkaAway) as error:
            log.debug("offsets_not_committed", extra={"reason": one_line(error)})

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        """Ask all the time where the partitions end: the lag, and whether Kafka is there at all."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                places = list(consumer.assignment())
                ends = await asyncio.wait_for(consumer.end_offsets(places), ASK_SECONDS) if places else {}
            except (KafkaError, TimeoutError, OSError) as error:
                self.trouble = f"Kafka недоступна: {one_line(error)}"
            else:
                self._ends = {place.partition: end for place, end in ends.items()}
                self.trouble = None

    # --- the database, from a thread: the group must hear the heartbeat meanwhile -------------------------------------

    def _apply(self, spans: list[Span], messages: list[Message]) -> inbox.Counts:
        self._check_name()
        with self.database.transaction() as cursor:
            return inbox.apply(cursor, spans, messages)

    def _offsets(self) -> dict[int, int]:
        self._check_name()
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
