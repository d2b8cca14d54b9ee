"""TaskIQ by itself over RabbitMQ: a durable quorum queue and acknowledgements, as taskiq-aio-pika sets them up.

    python -m benchmarks.peers.taskiq_queue drain URL COUNT FIFO KIND    so many tasks, waited for; prints the seconds
    TASKIQ_URL=… TASKIQ_FIFO=… python -m taskiq worker benchmarks.peers.taskiq_queue:broker

Each task says by a byte in a FIFO that it was run: TaskIQ itself does not tell when all are done.
"""

import asyncio
import hashlib
import json
import os
import sys
import time

from taskiq_aio_pika import AioPikaBroker

#: Of a short task, as of the queue's.
ROUNDS = 40_000
#: Messages that are on their way to the broker at the same time.
BATCH = 200

broker = AioPikaBroker(os.environ.get("TASKIQ_URL") or (sys.argv + [""] * 3)[2])


@broker.task("empty")
async def empty() -> None:
    """Do nothing, and say so."""
    _say()


@broker.task("short")
async def short() -> None:
    """Compute for some milliseconds, one after the other as in a child of the queue's, and say so."""
    hashlib.pbkdf2_hmac("sha256", b"work", b"salt", ROUNDS)
    _say()


def _say() -> None:
    with open(os.environ["TASKIQ_FIFO"], "wb", buffering=0) as fifo:
        fifo.write(b".")


async def drain(count: int, fifo: str, kind: str) -> None:
    task = {"empty": empty, "short": short, "single": empty}[kind]
    await broker.startup()
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    began = time.perf_counter()
    done = 0
    for first in range(0, count, BATCH):
        await asyncio.gather(*(task.kiq() for _ in range(min(BATCH, count - first))))
        done += _heard(reader)
    while (done := done + _heard(reader)) < count:
        await asyncio.sleep(0.005)
    print(json.dumps(time.perf_counter() - began))
    await broker.shutdown()


def _heard(reader: int) -> int:
    try:
        return len(os.read(reader, 65536))
    except BlockingIOError:
        return 0


if __name__ == "__main__":
    asyncio.run(drain(int(sys.argv[3]), sys.argv[4], sys.argv[5]))
