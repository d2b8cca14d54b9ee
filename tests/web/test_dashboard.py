"""What the page shows of the whole queue: read from a real PostgreSQL, drawn once however many look."""

from __future__ import annotations

import asyncio
import dataclasses
import types
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from counters import Hour
from db import Database, DatabaseAway
from tests.database import Queries
from tests.records import status
from web import dashboard
from web.dashboard import FORM_TOKEN, SHOWN, Dashboard, Overview, overview


class Pencil:
    """Draws numbered pictures; fails where it is told to."""

    def __init__(self) -> None:
        self.drawn = 0
        self.error: BaseException | None = None

    async def __call__(self) -> str:
        self.drawn += 1
        number = self.drawn
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return f"{number} <{FORM_TOKEN}> <{FORM_TOKEN}>"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass; without that, time stands still."""
    now = 0.0

    def go_on(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(dashboard, "time", types.SimpleNamespace(monotonic=lambda: now))
    return go_on


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_drawing_is_good_for_a_second(clock: Callable[[float], None]) -> None:
    async def looks() -> list[str]:
        board = Dashboard(Pencil())
        seen = [await board.html("t")]
        for seconds in (0, 0.9, 0.2, 0.5):
            clock(seconds)
            seen.append(await board.html("t"))
        return [one[0] for one in seen]

    assert asyncio.run(looks()) == ["1", "1", "1", "2", "2"]


@pytest.mark.usefixtures("clock")
def test_however_many_look_at_once_it_is_drawn_once() -> None:
    async def looks() -> list[str]:
        board = Dashboard(pencil)
        return await asyncio.gather(*(board.html(str(number)) for number in range(100)))

    pencil = Pencil()
    assert asyncio.run(looks()) == [f"1 <{number}> <{number}>" for number in range(100)]
    assert pencil.drawn == 1


@pytest.mark.usefixtures("clock")
def test_what_browsers_are_told_to_have_changed_is_drawn_anew_at_once() -> None:
    async def looks() -> list[str]:
        version = "jobs: 1"
        board = Dashboard(Pencil(), lambda: version)
        seen = [await board.html("t"), await board.html("t")]
        version = "jobs: 2"
        return [*seen, await board.html("t"), await board.html("t")]

    assert [one[0] for one in asyncio.run(looks())] == ["1", "1", "2", "2"]


@pytest.mark.usefixtures("clock")
def test_what_was_changed_from_here_is_drawn_anew_at_once() -> None:
    async def looks() -> tuple[str, str]:
        board = Dashboard(Pencil())
        before = await board.html("t")
        board.forget()
        return before, await board.html("t")

    assert [one[0] for one in asyncio.run(looks())] == ["1", "2"]


@pytest.mark.usefixtures("clock")
def test_what_is_changed_while_it_is_drawn_is_drawn_anew_too() -> None:
    async def looks() -> str:
        async def draw() -> str:
            drawing = await pencil()
            if pencil.drawn == 1:
                board.forget()
            return drawing

        board = Dashboard(draw)
        await board.html("t")
        return await board.html("t")

    pencil = Pencil()
    assert asyncio.run(looks())[0] == "2"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("error", [DatabaseAway("away"), asyncio.CancelledError()])
def test_a_drawing_that_failed_is_not_shown_and_tried_again_at_once(error: BaseException) -> None:
    async def looks() -> str:
        board = Dashboard(pencil)
        await board.html("t")
        board.forget()
        pencil.error = error
        with pytest.raises(type(error)):
            await board.html("t")
        pencil.error = None
        return await board.html("t")

    pencil = Pencil()
    assert asyncio.run(looks())[0] == "3"


# --- reading ----------------------------------------------------------------------------------------------------------


def look(own: Database) -> Overview:
    with own.transaction() as cursor:
        return overview(cursor)


def test_an_empty_queue_has_nothing_to_show(own: Database) -> None:
    seen = look(own)
    assert (seen.waiting, seen.failed, seen.done, seen.waited) == ((), (), (), None)
    assert seen.present == {"done": 0, "failed": 0, "cancelled": 0}
    assert len(seen.hours) == 24
    assert seen.status.waiting == 0


def test_the_newest_ends_are_shown_and_of_those_that_wait_the_next(own: Database, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, priority, finished_at) SELECT 'f', state, n,"
        " CASE WHEN state <> 'waiting' THEN now() END"
        " FROM unnest(ARRAY['done', 'failed', 'waiting', 'cancelled']) state, generate_series(1, 10) n"
    )
    ids = {
        state: [
            row[0] for row in sql("SELECT id FROM tksva_q.job WHERE state = %s ORDER BY id DESC LIMIT %s", state, SHOWN)
        ]
        for state in ("done", "failed")
    }
    seen = look(own)
    assert [job.id for job in seen.done] == ids["done"]
    assert [job.id for job in seen.failed] == ids["failed"]
    assert [job.priority for job in seen.waiting] == [10, 9, 8, 7, 6, 5]
    assert (seen.status.waiting, seen.status.failed) == (10, 10)
    assert seen.present == {"done": 10, "failed": 10, "cancelled": 10}


def hour(done: int, failed: int, waited: float) -> Hour:
    return Hour(datetime(2024, 1, 31, tzinfo=UTC), done, failed, 5, waited, waited)


def test_the_average_wait_counts_each_job_once() -> None:
    empty = Overview(status(), (), (), (), (), {})
    hours = (hour(1, 0, 100.0), hour(7, 2, 10.0), hour(0, 0, 0.0))
    assert dataclasses.replace(empty, hours=hours).waited == 19.0
    assert dataclasses.replace(empty, hours=(hour(0, 0, 0.0),)).waited is None
