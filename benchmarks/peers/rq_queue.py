"""rq: jobs in Redis, a child process for each of them."""

import asyncio
import logging

from redis import Redis
from rq import Queue, Worker
from rq.registry import FinishedJobRegistry

from benchmarks.peers import queues


def empty() -> None:
    """Do nothing."""


async def work(address: str, _way: str) -> None:
    logging.disable(logging.INFO)
    Worker([Queue(connection=Redis.from_url(address))]).work()


async def drain(address: str, count: str, _way: str) -> None:
    connection = Redis.from_url(address)
    queue = Queue(connection=connection)
    finished = FinishedJobRegistry(queue=queue)
    before = finished.count

    async def submit(jobs: int) -> None:
        await asyncio.to_thread(queue.enqueue_many, [Queue.prepare_data(empty) for _ in range(jobs)])

    async def drained() -> bool:
        return finished.count - before == int(count)

    await queues.drain(submit, int(count), drained)


if __name__ == "__main__":
    queues.run(work=work, drain=drain)
