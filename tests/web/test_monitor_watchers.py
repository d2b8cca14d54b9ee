"""Who watches the monitor is told what differs, and waits for the first look only."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from db import DatabaseAway
from tests.database import Queries
from tests.web.inside import run
from tests.web.monitors import job, make, quick, worker
from web import monitor as web_monitor
from web.monitor import Look, Monitor

__all__ = ["make", "quick"]  # fixtures


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
