"""A year of slots through the database, with restarts, pauses and clocks set back, beside a reference of its own.

The reference knows nothing of `schedules` and `firing`: it looks at the wall clock every quarter of an hour of the
year, and at when somebody was there to look.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from db import Database
from firing import Clock
from schedules import Schedule
from tests.database import Queries

ZONES = ("Europe/Moscow", "America/New_York", "Australia/Lord_Howe")
POLICIES = ("skip", "once", "all")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
#: Seconds from one look of the reference to the next: the crons are due at quarters only, and clocks are set by more.
QUARTER = 900.0
END = BEGIN + 365 * DAY
#: As the queue promises: a slot is missed when nobody looks within so many seconds, forgotten by `all` after so many.
LATE, LOOK_BACK = 30.0, 2 * DAY
#: Jobs that are made before all of them are ended.
SWEEP = 200

Shown = Callable[[datetime], bool]
#: Expression, whether it means times of day, and what the wall clock must show.
CRONS: dict[str, tuple[bool, Shown]] = {
    "0 */6 * * *": (False, lambda shown: shown.minute == 0 and shown.hour % 6 == 0),
    "30 2 * * *": (True, lambda shown: (shown.hour, shown.minute) == (2, 30)),
    "15 1 * * 0": (True, lambda shown: (shown.hour, shown.minute) == (1, 15) and shown.isoweekday() == 7),
    "*/15 0-3 1-8 3,4,10,11 *": (
        False,
        lambda shown: shown.minute % 15 == 0 and shown.hour <= 3 and shown.day <= 8 and shown.month in {3, 4, 10, 11},
    ),
}


@dataclass(frozen=True)
class Life:
    """A while in which somebody looks at the clock; `begin` before the last life's `end`: the clock was set back."""

    begin: float  # Unix seconds, as the clock shows them
    end: float
    restarted: bool  # another process looks
    daemons: int  # that look side by side


def lives(luck: random.Random) -> Iterator[Life]:
    """A year of lives, each ending at half a minute past, when nothing is planned."""
    moment = BEGIN + MINUTE / 2
    while moment < END:
        length = luck.choice((luck.uniform(1, 12) * HOUR, luck.uniform(1, 20) * DAY))
        end = moment + length // MINUTE * MINUTE
        yield Life(moment, min(end, END), luck.random() < 0.7, luck.choice((1, 1, 2)))
        moment = min(end, END) + away(luck) // MINUTE * MINUTE
        if luck.random() < 0.2:  # back just after the hour, within what a restart may take
            moment = moment // HOUR * HOUR + 10


def away(luck: random.Random) -> float:
    """How far the clock goes from one life to the next."""
    pauses = (0.0, luck.uniform(0, 2) * HOUR, luck.uniform(2, 30) * HOUR, luck.uniform(2, 12) * DAY)
    return luck.choice((*pauses, -luck.uniform(0, 3) * HOUR, -luck.uniform(1, 60) * HOUR))


# --- the reference ----------------------------------------------------------------------------------------------------


def every_quarter(zone: str) -> dict[str, list[float]]:
    """When each expression is due, by a look at the wall clock every quarter of an hour."""
    due: dict[str, list[float]] = {cron: [] for cron in CRONS}
    place, quarter = ZoneInfo(zone), timedelta(seconds=QUARTER)
    furthest = datetime.fromtimestamp(BEGIN, place).replace(tzinfo=None)
    moment = BEGIN
    while moment < END:
        moment += QUARTER
        shown = datetime.fromtimestamp(moment, place).replace(tzinfo=None)
        passed = [furthest + step * quarter for step in range(1, (shown - furthest) // quarter + 1)]
        furthest = max(furthest, shown)
        for cron, (fixed, matches) in CRONS.items():
            if any(map(matches, passed)) if fixed else matches(shown):
                due[cron].append(moment)
    return due


def expected(due: list[float], lived: list[Life], policy: str) -> list[float]:
    """The slots that have a job in the end."""
    fired: list[float] = []
    reached = lived[0].begin  # the furthest that anybody has seen the clock
    for life in lived:
        missed = due[bisect_right(due, reached) : bisect_right(due, life.begin)]
        match policy:
            case "skip":
                fired += [slot for slot in missed if slot >= life.begin - LATE]
            case "once":
                fired += missed[-1:]
            case "all":
                fired += [slot for slot in missed if slot > life.begin - LOOK_BACK]
        seen = max(reached, life.begin)
        fired += due[bisect_right(due, seen) : bisect_right(due, life.end)]
        reached = max(seen, life.end)
    return fired


# --- the queue --------------------------------------------------------------------------------------------------------


class Year:
    """Daemons that live through the lives, without a wait."""

    def __init__(self, own: Database, sql: Queries, schedules: list[Schedule], luck: random.Random) -> None:
        self.own, self.sql, self.schedules, self.luck = own, sql, schedules, luck
        self.clocks: list[Clock] = []
        self.unended = 0

    def live(self, life: Life) -> None:
        if life.restarted or len(self.clocks) != life.daemons:
            self.clocks = [Clock(self.schedules) for _ in range(life.daemons)]
        now = life.begin
        for clock in self.clocks:
            self.look(clock, now)
        while True:
            clock = min(self.clocks, key=lambda one: one.due)
            if clock.due > life.end:
                return
            now = max(now, clock.due + self.luck.uniform(0, 2))
            self.look(clock, now)

    def look(self, clock: Clock, now: float) -> None:
        self.unended += clock.tick(self.own, now)
        while clock.due <= now:  # there is more than one transaction takes
            self.unended += clock.tick(self.own, now)
        if self.unended > SWEEP:
            self.unended = 0
            self.sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE state = 'waiting'")


@pytest.fixture
def own(database: str) -> Iterator[Database]:
    made = Database(database, "test")
    with made.statement() as cursor:
        cursor.execute("SET synchronous_commit = off")  # nobody pulls the plug
    yield made
    made.close()


@pytest.mark.parametrize("zone", ZONES)
def test_every_slot_of_a_year_is_fired_by_its_policy_and_none_twice(
    own: Database, sql: Queries, zone: str, nothing: None
) -> None:
    luck = random.Random(zone)  # noqa: S311 -- the same lives each time: what fails can be looked at
    lived = list(lives(luck))
    assert any(later.begin < earlier.end for earlier, later in pairwise(lived))
    schedules = [
        Schedule(f"{policy} {cron}", cron, "nothing", zone=zone, missed=policy, look_back=LOOK_BACK, overlap="queue")
        for policy in POLICIES
        for cron in CRONS
    ]
    year = Year(own, sql, schedules, luck)
    for life in lived:
        year.live(life)
    made: dict[str, Counter[float]] = {schedule.name: Counter() for schedule in schedules}
    for name, planned in sql("SELECT schedule, planned_at FROM tksva_q.job"):
        made[name][planned.timestamp()] += 1
    due = every_quarter(zone)
    for schedule in schedules:
        assert made[schedule.name] == Counter(expected(due[schedule.cron], lived, schedule.missed)), schedule.name
    fewer = [sum(made[f"{policy} 0 */6 * * *"].values()) for policy in POLICIES]
    assert fewer == sorted(set(fewer))  # the policies do differ
