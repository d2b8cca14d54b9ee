"""PgQueuer: jobs in PostgreSQL, async functions, fetched in batches."""

import asyncpg
import psycopg2.extensions
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.peers import queues

#: Ways to run a worker: jobs fetched at once.
WAYS = {"batches": 10, "one": 1}


async def connect(conninfo: str) -> asyncpg.Connection:
    parts = psycopg2.extensions.parse_dsn(conninfo)
    return await asyncpg.connect(
        host=parts["host"], port=int(parts["port"]), user=parts["user"], database=parts["dbname"]
    )


async def install(conninfo: str) -> None:
    await Queries(AsyncpgDriver(await connect(conninfo))).install()


async def work(conninfo: str, way: str) -> None:
    manager = PgQueuer(AsyncpgDriver(await connect(conninfo)))
    warehouse = await connect(conninfo)

    async def empty(_job: object) -> None:
        """Do nothing."""

    async def pickup(_job: object) -> None:
        await warehouse.execute(queues.FIRST_STATEMENT)

    manager.entrypoint("empty", accepts_context=False)(empty)
    manager.entrypoint("pickup", accepts_context=False)(pickup)
    await manager.run(batch_size=WAYS[way])


async def drain(conninfo: str, count: str, _way: str) -> None:
    connection = await connect(conninfo)
    own = Queries(AsyncpgDriver(connection))

    async def submit(jobs: int) -> None:
        await own.enqueue(["empty"] * jobs, [None] * jobs, [0] * jobs)

    async def drained() -> bool:
        return not await connection.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)")

    await queues.drain(submit, int(count), drained)


async def pickup(conninfo: str, count: str) -> None:
    own = Queries(AsyncpgDriver(await connect(conninfo)))

    async def submit(_: int) -> None:
        await own.enqueue("pickup", None)

    await queues.pickup(submit, int(count), conninfo)


if __name__ == "__main__":
    queues.run(install=install, work=work, drain=drain, pickup=pickup)
