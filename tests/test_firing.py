"""What becomes of slots: fired once by their policies, whatever the clock and the daemons do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

import firing
import timetable
from db import Database
from firing import Clock
from schedules import Schedule, slots
from tests.database import Queries
from tests.hourly import hourly as usual

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0

pytestmark = pytest.mark.usefixtures("nothing")


def hourly(**given: object) -> Schedule:
    """Its jobs wait for one another: no slot is left out because an earlier job has not ended."""
    return usual(**({"overlap": "queue"} | given))


def hours(sql: Queries, fate: str = "fired") -> list[int]:
    found = sql("SELECT planned_at FROM tksva_q.slot WHERE fate = %s ORDER BY planned_at", fate)
    return [int(row[0].timestamp() - NOON) // 3600 for row in found]


@pytest.mark.parametrize(("missed", "fired"), [("skip", [1, 7]), ("once", [1, 6, 7]), ("all", [1, 4, 5, 6, 7])])
def test_slots_of_a_pause_are_made_up_as_the_policy_says_and_no_further_back(
    own: Database, sql: Queries, missed: str, fired: list[int]
) -> None:
    made = hourly(missed=missed, look_back=3 * HOUR)
    first = Clock([made])
    first.tick(own, NOON)
    first.tick(own, NOON + HOUR)
    again = Clock([made])
    again.tick(own, NOON + 6.5 * HOUR)
    again.tick(own, NOON + 7 * HOUR)
    assert hours(sql) == fired


@pytest.mark.parametrize(("back", "fired"), [(6.5, [1, 6]), (6 + 10 / HOUR, [1, 6]), (200.5, [1, 200])])
def test_once_makes_up_for_a_pause_of_any_length_by_one_job(
    own: Database, sql: Queries, back: float, fired: list[int]
) -> None:
    made = hourly(missed="once")
    for moment in (0, 1, back):
        Clock([made]).tick(own, NOON + moment * HOUR)
    assert hours(sql) == fired


def test_once_remembers_a_slot_that_is_older_than_the_look_back(own: Database, sql: Queries) -> None:
    made = hourly(missed="once", cron="0 18 1 * *", look_back=HOUR)
    for day in (0, 0.5, 61.5, 75, 75.1):
        Clock([made]).tick(own, NOON + day * 24 * HOUR)
    assert hours(sql) == [6, 24 * 61 + 6]


def test_what_was_forgotten_is_not_made_up_when_the_clock_is_set_back(own: Database, sql: Queries) -> None:
    made = hourly(missed="all", cron="0 18 * * *", look_back=HOUR)
    for moment in (0, 10, 6.5, 10):
        Clock([made]).tick(own, NOON + moment * HOUR)
    assert hours(sql) == []


def test_slots_to_come_are_not_worked_out(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[datetime] = []

    def counting(schedule: Schedule, after: datetime) -> Iterator[datetime]:
        for slot in slots(schedule, after):
            asked.append(slot)
            yield slot

    clock = Clock([hourly()])
    clock.tick(own, NOON)
    monkeypatch.setattr(firing, "slots", counting)
    clock.tick(own, NOON + HOUR)
    assert len(asked) == 2


def test_the_clock_wakes_the_loop_when_the_jitter_of_a_job_has_passed(own: Database, sql: Queries) -> None:
    now = time.time()
    clock = Clock([hourly(cron="* * * * * *", jitter=600, overlap="skip")])
    clock.tick(own, now)
    assert clock.tick(own, now + 2) == 0
    run_at = sql.value("SELECT extract(epoch FROM run_at)::float8 FROM tksva_q.job")
    clock.due = float("inf")
    assert clock.seconds() == pytest.approx(run_at - time.time(), abs=5)
    assert clock.tick(own, run_at - 0.01) == 0
    assert clock.tick(own, run_at + 0.01) == 1
    assert clock.seconds() == float("inf")


def test_a_clock_that_is_set_back_repeats_nothing(own: Database, sql: Queries) -> None:
    clock = Clock([hourly()])
    for moment in (0, 1, 2, 0.5, 1, 2, 3):
        clock.tick(own, NOON + moment * HOUR)
        Clock([hourly()]).tick(own, NOON + moment * HOUR)
    assert hours(sql) == [1, 2, 3]


def test_a_schedule_that_is_changed_begins_anew(own: Database, sql: Queries) -> None:
    Clock([hourly()]).tick(own, NOON)
    Clock([hourly(cron="0 */1 * * *", missed="all")]).tick(own, NOON + 5.5 * HOUR)
    assert hours(sql) == []


def test_a_disabled_schedule_neither_fires_nor_makes_up(own: Database, sql: Queries) -> None:
    made = hourly(missed="all")
    clock = Clock([made])
    clock.tick(own, NOON)
    with own.statement() as cursor:
        timetable.disable(cursor, made)
    clock.tick(own, NOON + 3 * HOUR)
    sql("UPDATE tksva_q.schedule SET enabled = true")
    clock.tick(own, NOON + 4 * HOUR)
    assert hours(sql) == [4]


@pytest.mark.parametrize(
    ("overlap", "fates", "states"),
    [
        ("skip", ["fired", "overlap"], ["waiting"]),
        ("queue", ["fired", "fired"], ["waiting", "waiting held"]),
        ("replace", ["replaced", "fired"], ["cancelled", "waiting"]),
    ],
)
def test_a_slot_beside_an_unended_job_does_what_the_policy_says(
    own: Database, sql: Queries, overlap: str, fates: list[str], states: list[str]
) -> None:
    clock = Clock([hourly(overlap=overlap)])
    for moment in range(3):
        clock.tick(own, NOON + moment * HOUR)
    assert [row[0] for row in sql("SELECT fate FROM tksva_q.slot ORDER BY planned_at")] == fates
    found = sql("SELECT state || CASE WHEN held THEN ' held' ELSE '' END FROM tksva_q.job ORDER BY id")
    assert [row[0] for row in found] == states


def test_a_held_job_may_start_when_the_earlier_one_has_ended(own: Database, sql: Queries) -> None:
    made = hourly()
    first, second = timetable.start(own, made), timetable.start(own, made)
    assert sql.value("SELECT held FROM tksva_q.job WHERE id = %s", second)
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE id = %s", first)
    assert not sql.value("SELECT held FROM tksva_q.job WHERE id = %s", second)
    assert timetable.stop(own, made) == [second]


def test_nothing_due_asks_the_database_nothing(own: Database) -> None:
    clock = Clock([hourly()])
    clock.tick(own, NOON)
    own.close()
    own.conninfo = "host=/nowhere"
    assert clock.tick(own, NOON + HOUR - 1) == 0


def test_the_listing_tells_next_last_and_result(own: Database, sql: Queries) -> None:
    made = hourly()
    clock = Clock([made])
    clock.tick(own, NOON)
    clock.tick(own, NOON + HOUR)
    with own.statement() as cursor:
        [line] = timetable.listing(cursor, [made], datetime.fromtimestamp(NOON + HOUR, UTC))
    assert line.next_at == datetime.fromtimestamp(NOON + 2 * HOUR, UTC)
    assert (line.fate, line.state, line.enabled) == ("fired", "waiting", True)
