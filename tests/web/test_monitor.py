"""One look at the database a second, whoever watches: what it sees of a real one, and who is told."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from psycopg2.extensions import parse_dsn

from db import DatabaseAway
from tests.database import Queries, server_cursor
from tests.waiting import wait_for
from tests.web.inside import run
from web import monitor as web_monitor
from web.monitor import FROZEN_SECONDS, Look, Monitor

T = TypeVar("T")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks as often as a test wants to wait."""
    monkeypatch.setattr(web_monitor, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(web_monitor, "WATCHED_SECONDS", 0.01)
    monkeypatch.setattr(web_monitor, "LOOK_SECONDS", 10.0)


@pytest.fixture
def make(database: str) -> Iterator[Callable[..., Monitor]]:
    made: list[Monitor] = []

    def new(address: Callable[[], str] = lambda: database) -> Monitor:
        made.append(monitor := Monitor(address))
        return monitor

    yield new
    for monitor in made:
        monitor.stop()
        if monitor._thread.is_alive():
            monitor._thread.join(20)


@pytest.fixture
def monitor(make: Callable[..., Monitor]) -> Monitor:
    """A monitor that looks without anybody's event loop."""
    monitor = make()
    monitor._thread.start()
    wait_for(lambda: monitor.look)
    return monitor


def seen(monitor: Monitor, wanted: Callable[[Look], object]) -> Look:
    """Wait for a look that shows what is wanted."""

    def probe() -> Look | None:
        look = monitor.look
        return look if look and wanted(look) else None

    found = wait_for(probe)
    assert isinstance(found, Look)
    return found


def worker(sql: Queries, age: float, lease: float = 15.0) -> None:
    """A queue manager whose loop was last seen so many seconds ago."""
    sql(
        "INSERT INTO tksva_q.worker (id, host, process, lease_seconds, seen_at, loop_at) VALUES"
        " (gen_random_uuid(), 'h', '1:1', %s, now(), clock_timestamp() - make_interval(secs => %s))",
        lease,
        age,
    )


def job(sql: Queries, rows: int = 0, total: int | None = 1000) -> int:
    """A job that is being prepared."""
    return int(
        sql.value(
            "INSERT INTO tksva_q.job (form, state, worker, slot, attempt, rows, total)"
            " VALUES ('f', 'running', gen_random_uuid(), 0, 1, %s, %s) RETURNING id",
            rows,
            total,
        )
    )


# --- the loop's pulse -------------------------------------------------------------------------------------------------


def test_without_a_queue_manager_no_loop_is_alive(monitor: Monitor) -> None:
    assert monitor.look
    assert (monitor.look.loop_age, monitor.look.loop_alive) == (None, False)


def test_a_loop_is_alive_until_most_of_its_lease_has_gone_by(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=5, lease=60)
    look = seen(monitor, lambda look: look.loop_age)
    assert (look.loop_alive, look.loop_limit) == (True, 48.0)
    sql("UPDATE tksva_q.worker SET loop_at = clock_timestamp() - interval '49 s'")
    look = seen(monitor, lambda look: not look.loop_alive)
    assert look.loop_age
    assert look.loop_age >= 49


def test_a_short_lease_does_not_make_a_busy_machine_a_frozen_loop(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=0, lease=0.3)
    assert seen(monitor, lambda look: look.loop_age is not None).loop_limit == FROZEN_SECONDS


def test_the_newest_loop_counts(make: Callable[..., Monitor], sql: Queries) -> None:
    for age in (1000, 1, 500):
        worker(sql, age)
    monitor = make()
    monitor._thread.start()
    assert (seen(monitor, lambda look: look).loop_age or 0) < 400


# --- running jobs -----------------------------------------------------------------------------------------------------


def test_a_running_job_is_seen_with_its_speed_and_what_is_left(monitor: Monitor, sql: Queries) -> None:
    number = job(sql)
    [first] = seen(monitor, lambda look: look.running).running
    assert (first.id, first.rows, first.total, first.speed, first.left) == (number, 0, 1000, None, None)
    sql("UPDATE tksva_q.job SET rows = 600")
    [second] = seen(monitor, lambda look: look.running[0].rows).running
    assert second.speed
    assert second.left == pytest.approx(400 / second.speed)


def test_what_is_left_is_never_less_than_nothing(monitor: Monitor, sql: Queries) -> None:
    """A table may have got rows since they were counted."""
    job(sql)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET rows = 1500")
    [found] = seen(monitor, lambda look: look.running[0].rows).running
    assert found.left == 0


def test_of_a_job_whose_rows_nobody_has_counted_only_the_speed_is_known(monitor: Monitor, sql: Queries) -> None:
    job(sql, total=None)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET rows = 10")
    [found] = seen(monitor, lambda look: look.running[0].rows).running
    assert found.speed
    assert (found.total, found.left) == (None, None)


def test_a_job_that_runs_no_more_is_not_remembered(monitor: Monitor, sql: Queries) -> None:
    job(sql)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET state = 'done', worker = NULL, finished_at = now()")
    seen(monitor, lambda look: not look.running)
    assert monitor._speeds._seen == {}


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO tksva_q.job (form) VALUES ('new')",
        "UPDATE tksva_q.job SET attempt = 2",
        "UPDATE tksva_q.job SET state = 'done', worker = NULL, finished_at = now()",
        "UPDATE tksva_q.job SET state = 'waiting', worker = NULL",
    ],
)
def test_the_lists_have_another_version_when_they_have_changed(monitor: Monitor, sql: Queries, change: str) -> None:
    job(sql)
    before = seen(monitor, lambda look: look.running)
    sql(change)
    seen(monitor, lambda look: look.version != before.version)


def test_progress_alone_is_no_other_version(monitor: Monitor, sql: Queries) -> None:
    job(sql)
    worker(sql, age=0)
    before = seen(monitor, lambda look: look.running and look.loop_alive)
    sql("UPDATE tksva_q.job SET rows = 500; UPDATE tksva_q.worker SET loop_at = clock_timestamp()")
    assert seen(monitor, lambda look: look.running[0].rows).version == before.version


def test_a_loop_that_dies_is_another_version(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=0)
    before = seen(monitor, lambda look: look.loop_alive)
    sql("UPDATE tksva_q.worker SET loop_at = clock_timestamp() - interval '1 h'")
    assert seen(monitor, lambda look: not look.loop_alive).version != before.version


# --- a database that is away ------------------------------------------------------------------------------------------


def test_before_the_first_look_it_is_away(make: Callable[..., Monitor]) -> None:
    monitor = make()
    assert monitor.away() == "ещё не спрошена"
    assert monitor.look is None


def test_a_database_that_goes_and_comes_back_is_noticed_both_times(
    monitor: Monitor, database: str, postgres: str
) -> None:
    name = parse_dsn(database)["dbname"]
    with server_cursor(postgres) as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        wait_for(lambda: "not currently accepting connections" in (monitor.away() or ""))
        assert monitor.look is None
        assert "\n" not in (monitor.away() or "")
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    wait_for(lambda: monitor.look)
    assert monitor.away() is None


def test_a_queue_without_tables_counts_as_away(make: Callable[..., Monitor], empty_database: str) -> None:
    monitor = make(lambda: empty_database)
    monitor._thread.start()
    wait_for(lambda: "tksva_q" in (monitor.away() or ""))


def test_a_look_that_does_not_come_back_counts_as_none(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(monitor, "_take", lambda: hang.wait(60))
    monkeypatch.setattr(web_monitor, "PATIENCE", 0.1)
    try:
        assert re.fullmatch(r"не отвечает \d+ с", wait_for(monitor.away))
        assert monitor.look is None
    finally:
        monitor.stop()
        hang.set()


# --- who watches ------------------------------------------------------------------------------------------------------


def test_starting_waits_for_the_first_look(make: Callable[..., Monitor]) -> None:
    async def start() -> Look | None:
        monitor = make()
        await monitor.start()
        return monitor.look

    assert run(start())


def test_starting_does_not_wait_for_a_look_that_hangs(
    make: Callable[..., Monitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_monitor, "LOOK_SECONDS", 0.1)
    go = threading.Event()

    def hang() -> str:
        go.wait(60)
        raise DatabaseAway("late")

    async def start() -> float:
        began = time.monotonic()
        await make(hang).start()
        return time.monotonic() - began

    try:
        assert run(start()) < 30
    finally:
        go.set()


def test_who_watches_gets_the_present_look_and_each_that_differs(make: Callable[..., Monitor], sql: Queries) -> None:
    async def watch() -> list[list[int]]:
        monitor = make()
        await monitor.start()
        told: list[list[int]] = []
        looks = monitor.looks()
        async for look in looks:
            assert look
            rows = [running.rows for running in look.running]
            if rows in told:  # only the speed has changed
                continue
            told.append(rows)
            if rows == [10]:
                break
            change = "UPDATE tksva_q.job SET rows = rows + 5"
            await (asyncio.to_thread(sql, change) if rows else asyncio.to_thread(job, sql))
        await looks.aclose()  # type: ignore[attr-defined]
        assert not monitor._watchers
        return told

    assert run(watch()) == [[], [0], [5], [10]]


def test_an_age_that_grows_is_no_news(make: Callable[..., Monitor], sql: Queries) -> None:
    worker(sql, age=0)

    async def watch() -> bool:
        monitor = make()
        await monitor.start()
        looks = monitor.looks()
        first = await anext(looks)
        second = asyncio.ensure_future(anext(looks))
        while monitor.look is first or not monitor.look:
            await asyncio.sleep(0.01)
        for _ in range(10):
            await asyncio.sleep(0.01)
        quiet = not second.done()
        await asyncio.to_thread(job, sql)
        assert await second
        return quiet

    assert run(watch())


def test_after_its_end_it_looks_no_more(monitor: Monitor) -> None:
    monitor.stop()
    monitor._thread.join(20)
    assert not monitor._thread.is_alive()
