"""When a schedule is due: compared with a clock on the wall that is looked at every quarter of an hour."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from errors import SettingsError
from schedules import Schedule, check, slots, starts_at

ZONES = ("Europe/Moscow", "America/New_York", "Australia/Lord_Howe")
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
#: How often the wall clock is looked at: what is expected is due at quarters only, and clocks are set by more.
LOOK = timedelta(minutes=15)

#: Expression, whether it means times of day, and what the wall clock must show.
CRONS = {
    "*/15 * * * *": (False, lambda shown: shown.minute % 15 == 0),
    "0 */2 * * *": (False, lambda shown: shown.minute == 0 and shown.hour % 2 == 0),
    "30 2 * * *": (True, lambda shown: (shown.hour, shown.minute) == (2, 30)),
    "0,30 1-3 * * *": (True, lambda shown: shown.minute in {0, 30} and shown.hour in {1, 2, 3}),
    "15 1 * * 0": (True, lambda shown: (shown.hour, shown.minute) == (1, 15) and shown.isoweekday() == 7),
}


def looked_at(zone: str) -> Iterator[tuple[datetime, datetime]]:
    """Every quarter of the year's hours, with what the wall clock shows then."""
    moment = BEGIN
    while moment < END:
        moment += LOOK
        yield moment, moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


@pytest.mark.parametrize("zone", ZONES)
def test_every_slot_of_a_year_is_due_as_a_look_at_the_clock_says(zone: str) -> None:
    expected: dict[str, list[datetime]] = {cron: [] for cron in CRONS}
    furthest = BEGIN.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    for moment, shown in looked_at(zone):
        passed = [furthest + step * LOOK for step in range(1, (shown - furthest) // LOOK + 1)]
        furthest = max(furthest, shown)
        for cron, (fixed, matches) in CRONS.items():
            if any(map(matches, passed)) if fixed else matches(shown):
                expected[cron].append(moment)
    for cron, wanted in expected.items():
        made = Schedule("one", cron, "nothing", zone=zone)
        assert list(takewhile(lambda slot: slot <= END, slots(made, BEGIN))) == wanted, cron


def test_a_time_with_seconds_comes_once_where_the_clock_jumps_and_where_it_is_set_back() -> None:
    made = Schedule("one", "5 30 2 * * *", "nothing", zone="America/New_York")
    found = takewhile(lambda slot: slot <= END, slots(made, BEGIN))
    assert len({slot.astimezone(ZoneInfo(made.zone)).date() for slot in found}) == 365


def test_jitter_is_the_same_for_everybody_and_within_its_bounds() -> None:
    made = Schedule("one", "* * * * *", "nothing", jitter=60)
    delays = {(starts_at(made, BEGIN + n * MINUTE) - BEGIN - n * MINUTE).total_seconds() for n in range(100)}
    assert len(delays) > 90
    assert 0 <= min(delays) < 10
    assert 50 < max(delays) < 60
    assert starts_at(made, BEGIN) == starts_at(made, BEGIN)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "* * *"}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"zone": "Europe/Nowhere"}, "часового пояса"),
        ({"overlap": "never"}, "overlap"),
        ({"processing": "nowhere"}, "нет обработки"),
    ],
)
def test_a_schedule_that_nobody_could_keep_is_refused_in_one_line(
    wrong: dict[str, str], said: str, nothing: None
) -> None:
    given = {"name": "one", "cron": "* * * * *", "processing": "nothing"} | wrong
    with pytest.raises(SettingsError, match=f"^расписание one: [^\n]*{said}[^\n]*$"):
        check([Schedule(**given)])  # type: ignore[arg-type]
