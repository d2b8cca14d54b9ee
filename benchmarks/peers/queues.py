"""What the command lines of the queues have in common.

    python -m benchmarks.peers.NAME install ADDRESS         tables and functions, once
    python -m benchmarks.peers.NAME work ADDRESS WAY        a worker, until it is killed
    python -m benchmarks.peers.NAME drain ADDRESS COUNT     so many empty jobs, waited for; prints the seconds
    python -m benchmarks.peers.NAME pickup ADDRESS COUNT    jobs one by one, each on an idle queue; prints the seconds

from a job's submission to the first statement of the work itself.
"""

import asyncio
import json
import random
import select
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg2

#: Channel on which a job says by the server's clock when it started.
CHANNEL = "benchmark"
#: What a job's first statement is.
FIRST_STATEMENT = f"SELECT pg_notify('{CHANNEL}', extract(epoch FROM clock_timestamp())::text)"
#: Seconds between two looks whether all is done.
LOOK_SECONDS = 0.01

Submit = Callable[[int], Awaitable[object]]


def run(**commands: Callable[..., Awaitable[None]]) -> None:
    """Run the command that the arguments name."""
    name, address, *rest = sys.argv[1:]
    asyncio.run(commands[name](address, *rest))  # type: ignore[arg-type]


async def drain(submit: Submit, count: int, drained: Callable[[], Awaitable[bool]]) -> None:
    """Submit jobs, wait until all are done, print the seconds."""
    began = time.perf_counter()
    await submit(count)
    while not await drained():
        await asyncio.sleep(LOOK_SECONDS)
    print(json.dumps(time.perf_counter() - began))


async def pickup(submit: Submit, count: int, conninfo: str) -> None:
    """Submit jobs one by one and print how long each took to begin."""
    listener = psycopg2.connect(conninfo)
    listener.autocommit = True
    listener.cursor().execute(f"LISTEN {CHANNEL}")
    seconds = []
    for _ in range(count):
        await asyncio.sleep(random.uniform(0.02, 0.06))  # noqa: S311 -- no secret
        submitted = time.time()
        await submit(1)
        seconds.append(await asyncio.to_thread(started, listener) - submitted)
    print(json.dumps(seconds))


def started(listener: Any) -> float:
    """Wait for the next job's word; return its time."""
    while not listener.notifies:
        select.select([listener], [], [], 30)
        listener.poll()
    return float(listener.notifies.pop(0).payload)
