"""dramatiq with Redis: ten threads in one process, messages prefetched."""

import asyncio
import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis import Redis

from benchmarks.peers import queues

DONE = "benchmark_done"


def actor(address: str) -> tuple[dramatiq.Broker, dramatiq.Actor]:
    broker = RedisBroker(url=address)
    client = Redis.from_url(address)

    def empty() -> None:
        """Nearly nothing: what was done is to be counted."""
        client.incr(DONE)

    return broker, dramatiq.actor(empty, broker=broker)


async def work(address: str, _way: str) -> None:
    broker, _ = actor(address)
    dramatiq.Worker(broker, worker_threads=10).start()
    await asyncio.to_thread(threading.Event().wait)


async def drain(address: str, count: str, _way: str) -> None:
    _, empty = actor(address)
    client = Redis.from_url(address)
    client.delete(DONE)

    def send(jobs: int) -> None:
        for _ in range(jobs):
            empty.send()

    async def submit(jobs: int) -> None:
        await asyncio.to_thread(send, jobs)

    async def drained() -> bool:
        return int(client.get(DONE) or 0) == int(count)

    await queues.drain(submit, int(count), drained)


if __name__ == "__main__":
    queues.run(work=work, drain=drain)
