"""A parser in its smallest form: takes tasks from Kafka, says how each goes. `python sample_parser.py HOST:PORT`."""

import asyncio
import json
import sys
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer  # type: ignore[import-untyped]


async def main(broker: str, tasks: str = "rss_parser_tasks", statuses: str = "task_statuses") -> None:
    """Take tasks for ever."""
    consumer = AIOKafkaConsumer(tasks, bootstrap_servers=broker, group_id="rss_parser", auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    async with consumer, producer:

        async def say(task: dict[str, str], status: str, **more: object) -> None:
            body = {"task_id": task["task_id"], "status": status, "occurred_at": datetime.now(UTC).isoformat(), **more}
            # Under the task's id as its key, or Kafka might deliver the end before the beginning.
            await producer.send_and_wait(statuses, json.dumps(body).encode(), key=task["task_id"].encode())

        async for message in consumer:
            task = json.loads(message.value)
            await say(task, "in_progress")
            try:
                await say(task, "success", items=parse(task["source"]))
            except ValueError as error:
                await say(task, "error", error=str(error))


def parse(source: dict[str, str]) -> int:
    """Return how many items a source has; a real parser would fetch the feed, and count what is new."""
    if not source["external_id"].startswith("http"):
        raise ValueError(f"не адрес ленты: {source['external_id']}")
    return len(source["external_id"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
