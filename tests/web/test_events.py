"""Progress as server-sent events: which come, when, and with which words."""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import AsyncIterator, Callable

import httpx
from sse_starlette import ServerSentEvent

from tests.daemons import Daemon
from tests.web.server import new_job
from web import events
from web.monitor import Look, Running
from words import NARROWLY, THIN

Start = Callable[..., Daemon]


def look(*running: Running, version: int = 0, age: float | None = 0.5) -> Look:
    alive = age is not None and age < 12
    return Look(age, 12.0, running, (version, alive))


def said(*looks: Look | None) -> list[tuple[str | None, object]]:
    """The events of a browser that sees these looks, with their data."""

    async def seen() -> AsyncIterator[Look | None]:
        for one in looks:
            yield one

    async def told() -> list[ServerSentEvent]:
        context = types.SimpleNamespace(monitor=types.SimpleNamespace(looks=seen))
        return [event async for event in events._events(context)]  # type: ignore[arg-type]

    return [(event.event, json.loads(event.data or "")) for event in asyncio.run(told())]


def names(*looks: Look | None) -> list[str | None]:
    return [name for name, _ in said(*looks)]


# --- which come -------------------------------------------------------------------------------------------------------


def test_whoever_comes_is_told_everything_at_once() -> None:
    assert said(look()) == [("progress", {"loop": True, "running": []}), ("changed", {})]


def test_lists_are_fetched_anew_only_when_they_have_changed() -> None:
    assert names(look(version=1), look(version=1), look(version=2)) == [
        *("progress", "changed", "progress", "progress", "changed"),
    ]


def test_a_database_that_is_away_is_said_to_be_and_everything_is_told_again_afterwards() -> None:
    assert said(look(), None, look())[2:] == [
        ("away", {}),
        ("progress", {"loop": True, "running": []}),
        ("changed", {}),
    ]


def test_a_loop_that_stands_still_is_told() -> None:
    assert [data for name, data in said(look(age=0.5), look(age=13.0), look(age=None)) if name == "progress"] == [
        {"loop": True, "running": []},
        {"loop": False, "running": []},
        {"loop": False, "running": []},
    ]


# --- what they say ----------------------------------------------------------------------------------------------------


def test_a_running_job_is_told_in_figures_and_in_words() -> None:
    [(_, data), _] = said(look(Running(7, 12_300, 50_000, 1000.4, 37.7)))
    assert data == {
        "loop": True,
        "running": [
            {
                "id": 7,
                "rows": 12_300,
                "total": 50_000,
                "text": f"12{THIN}300 из 50{THIN}000",
                "speed": f"1{THIN}000{NARROWLY}строк/с",
                "left": f"38{NARROWLY}с",
            }
        ],
    }


def test_what_is_not_known_yet_is_no_figure() -> None:
    [(_, data), _] = said(look(Running(7, 0, None, None, None)))
    assert isinstance(data, dict)
    assert data["running"] == [
        {"id": 7, "rows": 0, "total": None, "text": "считаем строки…", "speed": "", "left": ""},
    ]


def test_all_browsers_get_the_one_text() -> None:
    seen = look(Running(7, 1, 2, None, None))
    assert events._progress(seen) is events._progress(seen)


# --- all together -----------------------------------------------------------------------------------------------------


def test_progress_comes_as_events(client: httpx.Client, start_daemon: Start) -> None:
    with client.stream("GET", "/api/events") as stream:
        events: list[tuple[str, str]] = []
        lines = stream.iter_lines()
        start_daemon()
        client.post("/api/jobs", json=new_job())
        name = ""
        for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, line.removeprefix("data: ")))
                if [one for one, _ in events].count("changed") >= 2:
                    break
    assert json.loads(events[0][1])["running"] == []
    assert {name for name, _ in events} == {"progress", "changed"}
