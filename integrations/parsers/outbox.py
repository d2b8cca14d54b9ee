"""The service that hands tasks out: each `created` one goes to Kafka once, and is `sent` when that is acknowledged.

One daemon at a time sends, under an advisory lock. Before a batch goes out the database notes that it does, and after
it what came of it. Where nobody knows (the acknowledgement was lost, the process was killed in between), the end of
the topic is read before anything is sent again: what has arrived there is marked, and only the rest is sent.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, MessageSizeTooLargeError  # type: ignore[import-untyped]

from db import Cursor, DatabaseAway, one_line
from integrations.parsers import letters, tail
from integrations.parsers.kafka import REQUEST_MS, KafkaAway, Outage, Stopped, opened, pause, producer, serving
from integrations.parsers.letters import Letter, Outcome
from integrations.parsers.settings import SOURCE_TYPES, ParserSettings
from logs import log
from services import Runtime
from settings import load_part

#: Key of the advisory lock of the one that sends ("outbox" in ASCII).
SENDER_LOCK = 0x6F7574626F78
#: Seconds between two looks for tasks, and for the lock where another one has it.
IDLE_SECONDS, SECOND_SECONDS = 0.3, 1.0
CONNECT_SECONDS = 10.0
#: Seconds after which a batch has been acknowledged or never will be: whoever sent it may be at it until then.
SEND_SECONDS = 2 * REQUEST_MS / 1000

T = TypeVar("T")


class InDoubt(KafkaAway):
    """Nobody knows what has arrived; says what went wrong."""


def run(runtime: Runtime) -> None:
    """Hand tasks out until the service is to stop."""
    asyncio.run(Outbox(runtime).run())


class Outbox:
    """The sender of one daemon."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.options = load_part(ParserSettings)
        self.database = runtime.database
        self.outage = Outage(runtime)
        self._locked: object = None  # the connection that holds the lock
        self._over: set[str] = set()  # topics whose last batch was this process's own and is over, come of it what may
        self._known: set[str] = set()  # topics of which is noted from where on tasks of ours may stand there

    async def run(self) -> None:
        """Send, and begin again after whatever keeps from it."""
        await serving(self.runtime, self.outage, self._turn)

    async def _turn(self) -> None:
        """Send while there is something to send, or wait a little."""
        if await self._idle():
            self.outage.over()
        else:
            await self._serve()

    async def _idle(self) -> bool:
        """Wait a little where there is nothing to do, or somebody else does it; tell whether that was so."""
        mine = await asyncio.to_thread(self._lock)
        if mine and await self._ask(lambda cursor: letters.any_waits(cursor, list(SOURCE_TYPES))):
            return False
        await pause(self.runtime, IDLE_SECONDS if mine else SECOND_SECONDS)
        return True

    async def _serve(self) -> None:
        """Send over one connection to Kafka for as long as all is well."""
        sender = producer(self.options)
        async with opened(sender, self.runtime, CONNECT_SECONDS):
            while not self.runtime.stopping():
                sent, wrong = 0, ""
                for kind, topic in self.options.topics.items():
                    if self.runtime.stopping():
                        return
                    try:
                        sent += await self._batch(sender, kind, topic)
                    except InDoubt:
                        raise
                    except (KafkaError, KafkaAway) as error:  # a topic that is not there keeps nobody from the others
                        wrong = wrong or f"{topic}: {one_line(error)}"
                if wrong and not sent:
                    raise KafkaAway(wrong)
                self.outage.over()
                if wrong:
                    self.outage.trouble = f"Kafka недоступна: {wrong}"
                if not sent:
                    await pause(self.runtime, IDLE_SECONDS)

    async def _batch(self, sender: AIOKafkaProducer, kind: str, topic: str) -> int:
        """Send a batch of one kind; return how many tasks no longer wait."""
        if not await self._ask(lambda cursor: letters.any_waits(cursor, [kind])):
            return 0
        await self._know(sender, topic)
        await self._settle(sender, topic)
        taken = await self._ask(lambda cursor: letters.take(cursor, kind, topic))
        if not taken:
            return 0
        self._over.discard(topic)
        outcome = await send(sender, topic, taken, self.options.kafka_max_request_size)
        self._over.add(topic)
        await self._ask(lambda cursor: letters.note(cursor, topic, outcome))
        for task, reason in outcome.refused:
            log.warning("task_not_sent", extra={"task": task, "reason": reason})
        if outcome.doubt is not None:
            raise InDoubt(one_line(outcome.doubt)) from outcome.doubt
        return len(outcome.sent) + len(outcome.refused)

    async def _know(self, sender: AIOKafkaProducer, topic: str) -> None:
        """Note where a topic ends before the first task goes there: what lies before is not ours."""
        if topic not in self._known and not await self._ask(lambda cursor: letters.offsets(cursor, topic)):
            reached = await tail.ends(self.runtime, self.options, sender, topic)
            await self._ask(lambda cursor: letters.note(cursor, topic, Outcome(reached=reached)))
        self._known.add(topic)

    async def _settle(self, sender: AIOKafkaProducer, topic: str) -> None:
        """Find out what has arrived of a batch of which nobody knows what came of it."""
        age = await self._ask(lambda cursor: letters.doubtful(cursor, topic))
        if age is None:
            return
        if topic not in self._over and age < SEND_SECONDS:
            await pause(self.runtime, SEND_SECONDS - age)
            if self.runtime.stopping():
                raise Stopped
        known = await self._ask(lambda cursor: letters.offsets(cursor, topic))
        arrived, reached = await tail.keys(self.runtime, self.options, sender, topic, known)
        await self._ask(lambda cursor: letters.note(cursor, topic, Outcome(sent=arrived, reached=reached)))
        log.warning("outbox_settled", extra={"topic": topic, "arrived": len(arrived)})

    # --- the database, from a thread ----------------------------------------------------------------------------------

    def _lock(self) -> bool:
        """Tell whether this one sends; the lock goes with the connection."""
        connection = self.database.connect()
        if connection is self._locked:
            return True
        with self.database.statement() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (SENDER_LOCK,))
            held = bool((cursor.fetchone() or (False,))[0])
        self._locked = connection if held else None
        self._over.clear()  # somebody else may have sent meanwhile
        return held

    async def _ask(self, work: Callable[[Cursor], T]) -> T:
        """Run work in a transaction of the connection that has the lock."""

        def ask() -> T:
            if self.database.connect() is not self._locked:
                raise DatabaseAway("the connection was lost, and the right to send with it")
            with self.database.transaction() as cursor:
                return work(cursor)

        return await asyncio.to_thread(ask)


async def send(sender: AIOKafkaProducer, topic: str, taken: list[Letter], limit: int) -> Outcome:
    """Send each task once and return what came of it, within SEND_SECONDS.

    Args:
        sender: connected; does not try again by itself.
        topic: where they go.
        taken: the tasks.
        limit: bytes that a message may have, for the reason of one that has more.
    """
    outcome = Outcome()
    alone = await _send(sender, topic, taken, limit, outcome)
    for letter in alone:  # the broker refused them together
        if await _send(sender, topic, [letter], limit, outcome):
            outcome.refused.append((letter.task_id, _too_large(letter, limit)))
    return outcome


async def _send(
    sender: AIOKafkaProducer, topic: str, taken: list[Letter], limit: int, outcome: Outcome
) -> list[Letter]:
    """Send tasks; return those that the broker finds too large together."""
    on_their_way = []
    for letter in taken:
        try:
            on_their_way.append((letter, await sender.send(topic, letter.body.encode(), letter.task_id.encode())))
        except MessageSizeTooLargeError:
            outcome.refused.append((letter.task_id, _too_large(letter, limit)))
        except KafkaError as error:
            outcome.doubt = error
            break
    too_large = []
    for letter, acknowledged in on_their_way:
        try:
            arrived = await asyncio.wait_for(acknowledged, SEND_SECONDS)
        except MessageSizeTooLargeError:
            too_large.append(letter)
        except (KafkaError, TimeoutError) as error:
            outcome.doubt = error
        else:
            outcome.sent.append(letter.task_id)
            outcome.reached[arrived.partition] = max(outcome.reached.get(arrived.partition, 0), arrived.offset + 1)
    return too_large


def _too_large(letter: Letter, limit: int) -> str:
    return f"сообщение больше, чем берёт Kafka: {len(letter.body.encode())} байт, KAFKA_MAX_REQUEST_SIZE={limit}"
