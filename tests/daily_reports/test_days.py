"""What a day is: read strictly, bounded by the midnights of a time zone, found by the clock of none but it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from errors import UserError
from integrations.daily_reports import ReportSettings
from integrations.daily_reports.days import MOST_DAYS, Days, asked, bounds, read, yesterday


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    for key in ReportSettings.model_fields:
        monkeypatch.delenv(key.upper(), raising=False)


@pytest.fixture(params=["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def process_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose own zone is far from everybody's."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        *("15.01.2024", "2024-02-30", "2024-1-5", "20240115", "2024-W03-1", "1705276800", "2024-01-15T00:00:00", ""),
        *(" 2024-01-15", "2024-01-15\n", "２０２４-01-15", "0001-01-01", "9999-12-31", "0000-01-01"),
    ],
)
def test_only_a_day_of_the_calendar_is_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"дат|дня|календар"):
        read(text)


def test_a_day_is_read() -> None:
    assert read("2024-02-29") == date(2024, 2, 29)


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("UTC", "2024-01-15", "2024-01-15 00:00", 24),
        ("Europe/Moscow", "2024-01-15", "2024-01-14 21:00", 24),
        ("Asia/Kathmandu", "2024-01-15", "2024-01-14 18:15", 24),
        ("Europe/Berlin", "2024-03-31", "2024-03-30 23:00", 23),
        ("Europe/Berlin", "2024-10-27", "2024-10-26 22:00", 25),
        ("America/Havana", "2024-11-03", "2024-11-03 04:00", 25),  # its midnight comes twice: the first one
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04 03:00", 23),  # its midnight is jumped over
    ],
)
def test_a_day_lies_between_two_midnights_of_its_zone(zone: str, day: str, begins: str, hours: int) -> None:
    first, last = (moment.astimezone(UTC) for moment in bounds(read(day), zone))
    assert first == datetime.fromisoformat(f"{begins}+00:00")
    assert last - first == timedelta(hours=hours)


@pytest.mark.usefixtures("process_zone")
@pytest.mark.parametrize(
    ("planned_at", "zone", "day"),
    [
        ("2024-01-15T00:00:00+00:00", "UTC", "2024-01-14"),
        ("2024-01-14T21:00:00+00:00", "Europe/Moscow", "2024-01-14"),
        ("2024-01-14T20:59:59+00:00", "Europe/Moscow", "2024-01-13"),
        ("2024-03-01T05:00:00Z", "America/New_York", "2024-02-29"),
    ],
)
def test_a_slot_means_the_day_before_it_in_the_reports_zone(planned_at: str, zone: str, day: str) -> None:
    assert asked(f'{{"planned_at": "{planned_at}"}}', zone) == Days(read(day), read(day))


@pytest.mark.usefixtures("process_zone")
def test_yesterday_is_the_zones_own() -> None:
    for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        before, found, after = _day_before(zone), yesterday(zone), _day_before(zone)
        assert found in {before, after}  # midnight may have come meanwhile


def _day_before(zone: str) -> date:
    return (datetime.now(ZoneInfo(zone)) - timedelta(days=1)).date()


def test_a_period_means_each_of_its_days() -> None:
    wanted = asked('{"start_date": "2024-02-28", "finish_date": "2024-03-01"}', "UTC")
    assert list(map(str, wanted.each())) == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert str(wanted) == "2024-02-28 — 2024-03-01"


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        (None, "нужен объект"),
        ("[", "JSON"),
        ("{}", "start_date"),
        ('{"start_date": "2024-01-02", "finish_date": "2024-01-01"}', "раньше"),
        ('{"start_date": "2024-01-01", "finish_date": "2044-01-01"}', str(MOST_DAYS)),
        ('{"start_date": "0001-01-01", "finish_date": "0001-01-02"}', "календаря"),
        ('{"planned_at": "yesterday"}', "planned_at"),
        ('{"planned_at": "2024-01-15T00:00:00"}', "planned_at"),  # whose midnight?
        ('{"planned_at": "0001-01-01T00:00:00+00:00"}', "planned_at"),
        ('{"planned_at": 5}', "planned_at"),
    ],
)
def test_params_that_mean_no_day_are_refused_with_a_reason(params: str | None, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        asked(params, "UTC")
