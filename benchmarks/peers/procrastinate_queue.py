"""procrastinate: jobs in PostgreSQL, sync ones in threads, async ones in the event loop."""

import procrastinate

from benchmarks.own.integrations.clockwork import COUNT
from benchmarks.peers import queues

#: Ways to run a worker: the task and how many at once.
WAYS = {
    "sync10": ("empty_sync", 10),
    "async10": ("empty_async", 10),
    "one": ("pickup", 1),
    "clock": ("tell_time", 10),
}


def application(conninfo: str) -> procrastinate.App:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo))

    def empty_sync() -> None:
        """Do nothing, in a thread."""

    async def empty_async() -> None:
        """Do nothing, in the event loop."""

    async def pickup() -> None:
        await app.connector.execute_query_async(queues.FIRST_STATEMENT)

    for function in (empty_sync, empty_async, pickup):
        app.task(name=function.__name__, queue=function.__name__)(function)
    return app


async def install(conninfo: str) -> None:
    async with application(conninfo).open_async() as app:
        await app.schema_manager.apply_schema_async()


def add_schedules(app: procrastinate.App) -> None:
    """Let as many periodic tasks be due every second as the queue's own benchmark has schedules."""

    async def tell_time(timestamp: int) -> None:
        await app.connector.execute_query_async(
            "INSERT INTO punctual VALUES (to_timestamp(%(planned)s))", planned=timestamp
        )

    task = app.task(name="tell_time", queue="tell_time")(tell_time)
    for number in range(COUNT):
        app.periodic(cron="* * * * * *", periodic_id=str(number))(task)


async def work(conninfo: str, way: str) -> None:
    name, concurrency = WAYS[way]
    known = application(conninfo)
    if way == "clock":
        add_schedules(known)
    async with known.open_async() as app:
        await app.run_worker_async(queues=[name], concurrency=concurrency)


async def drain(conninfo: str, count: str, way: str) -> None:
    async with application(conninfo).open_async() as app:
        task = app.tasks[WAYS[way][0]]

        async def submit(jobs: int) -> None:
            await task.batch_defer_async(*[{} for _ in range(jobs)])

        async def drained() -> bool:
            waiting = "SELECT count(*) AS left FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            return (await app.connector.execute_query_one_async(waiting))["left"] == 0

        await queues.drain(submit, int(count), drained)


async def pickup(conninfo: str, count: str) -> None:
    async with application(conninfo).open_async() as app:

        async def submit(_: int) -> None:
            await app.tasks["pickup"].defer_async()

        await queues.pickup(submit, int(count), conninfo)


if __name__ == "__main__":
    queues.run(install=install, work=work, drain=drain, pickup=pickup)
