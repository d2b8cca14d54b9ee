"""The database as the web process uses it: threads with a connection each, an event loop that never waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import db
from db import Cursor, Database, DatabaseAway
from errors import StorageError
from tests.daemons import make_settings
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.inside import run
from web import database as web_database
from web.database import THREADS, Address, Pool

T = TypeVar("T")


@pytest.fixture
def make_pool(database: str) -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(address: str = database, away: Callable[[], str | None] = lambda: None) -> Pool:
        pools.append(pool := Pool(lambda: address, away))
        return pool

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def pool(make_pool: Callable[..., Pool]) -> Pool:
    return make_pool()


def backend(cursor: Cursor) -> int:
    cursor.execute("SELECT pg_backend_pid()")
    row = cursor.fetchone()
    assert row
    return int(row[0])


# --- where it is ------------------------------------------------------------------------------------------------------


def test_the_address_is_found_out_once_however_many_ask(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def dsn(settings: object) -> str:
        asked.append(settings)
        return "host=found"

    monkeypatch.setattr(db, "dsn", dsn)
    address = Address(settings := make_settings(database, tmp_path))
    threads = [threading.Thread(target=address) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert address() == "host=found"
    assert asked == [settings]


def test_a_server_that_does_not_start_is_away_and_asked_again(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Iterator[str | Exception] = iter([StorageError("диск полон"), "host=found"])

    def dsn(_: object) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(db, "dsn", dsn)
    address = Address(make_settings(database, tmp_path))
    with pytest.raises(DatabaseAway, match="диск полон"):
        address()
    assert address() == "host=found"


# --- work -------------------------------------------------------------------------------------------------------------


def test_work_gets_a_connection_that_says_whose_it_is(pool: Pool) -> None:
    def work(database: Database) -> str:
        with database.statement() as cursor:
            cursor.execute("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
            return str((cursor.fetchone() or ("",))[0])

    assert run(pool.run(work)) == "tksva_q web"


def test_a_few_connections_serve_however_many_ask(pool: Pool) -> None:
    async def many() -> set[int]:
        return set(await asyncio.gather(*(pool.read(backend) for _ in range(50))))

    assert 1 <= len(run(many())) <= THREADS


def test_the_event_loop_goes_on_while_the_database_is_slow(pool: Pool, sql: Queries) -> None:
    def sleep(cursor: Cursor) -> None:
        cursor.execute("SELECT pg_advisory_xact_lock(7)")

    async def both() -> None:
        slow = asyncio.create_task(pool.read(sleep))
        while not sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"):
            await asyncio.sleep(0.01)
        assert not slow.done()
        sql("SELECT pg_advisory_unlock(7)")
        await slow

    sql("SELECT pg_advisory_lock(7)")
    run(both())


def test_reading_changes_nothing(pool: Pool, sql: Queries) -> None:
    with pytest.raises(DatabaseAway, match="read-only"):
        run(pool.read(lambda cursor: cursor.execute("DELETE FROM dwh_tables_info")))
    assert sql.value("SELECT count(*) FROM dwh_tables_info") == 1


def test_reading_is_given_up_after_its_limit(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as hurried, pytest.raises(DatabaseAway):
        hurried.setattr(web_database, "READ_SECONDS", 0.2)
        run(pool.read(lambda cursor: cursor.execute("SELECT pg_sleep(60)")))
    assert run(pool.read(backend))  # the next one is answered


def test_what_the_work_itself_raises_passes_through(pool: Pool) -> None:
    def fail(_: Cursor) -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run(pool.read(fail))
    assert run(pool.read(backend))


# --- without a database -----------------------------------------------------------------------------------------------


def test_before_the_queue_has_made_its_tables_the_database_counts_as_away(
    make_pool: Callable[..., Pool], empty_database: str
) -> None:
    with pytest.raises(DatabaseAway, match=r"tksva_q\.job"):
        run(make_pool(empty_database).read(lambda cursor: cursor.execute("SELECT 1 FROM tksva_q.job")))


def test_nobody_waits_for_a_database_that_is_known_to_be_away(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool("host=/nowhere", away=lambda: "не отвечает 5 с")
    with pytest.raises(DatabaseAway, match=r"^не отвечает 5 с$"):
        run(pool.run(lambda database: pytest.fail("it was asked all the same")))


def test_a_server_that_is_not_there_is_away(make_pool: Callable[..., Pool]) -> None:
    with pytest.raises(DatabaseAway):
        run(make_pool("host=/nowhere").read(backend))


def test_a_connection_that_was_terminated_is_made_again(pool: Pool, sql: Queries) -> None:
    first = run(pool.read(backend))
    sql("SELECT pg_terminate_backend(%s)", first)
    wait_for(lambda: not sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", first))
    with pytest.raises(DatabaseAway):
        while run(pool.read(backend)):  # by another thread, with a connection of its own
            pass
    assert run(pool.read(backend)) != first


def test_after_its_end_nothing_is_begun(pool: Pool) -> None:
    pool.close()
    with pytest.raises(RuntimeError):
        run(pool.read(backend))
