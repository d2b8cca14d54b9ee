"""What the timers bring along for the queue."""

from __future__ import annotations

import pytest

import workloads
from db import Database
from integrations import timers
from integrations.timers import definitions
from tests.timers.conftest import TIMER, Define


def test_the_schedules_are_the_files_timers_and_the_watch(define: Define) -> None:
    define(TIMER)
    [timers_] = workloads.load(["timers"])
    assert {one.processing for one in timers_.part("SCHEDULES")} == {"timer", definitions.WATCH}


def test_health_and_sources_are_asked_with_the_definitions_of_the_file(queue: Database, define: Define) -> None:
    define(TIMER + '[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    with queue.transaction() as cursor:
        [found] = timers.sources(cursor)
        assert (found.source, found.text) == ("sales", "таблица не читается")
        assert "error" in {check.status for check in timers.health(cursor).values()}


@pytest.mark.parametrize("part", ["commands", "routes"])
def test_the_words_and_the_page_are_there(part: str) -> None:
    [loaded] = workloads.load(["timers"])
    assert loaded.part(part) is not None
    assert loaded.title == "Таймеры"
