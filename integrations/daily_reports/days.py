"""What a day is: which days a job asks for, and between which moments each of them lies."""

import datetime
import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from conditions import Period, parse
from errors import UserError
from setting_values import stripped

#: Days that one job may make: ten years.
MOST_DAYS = 3660

_DAY = datetime.timedelta(days=1)
_SHAPE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Days(Period):
    """The days whose reports a job makes."""

    def __post_init__(self) -> None:
        """Refuse more days than a job may make, and those that have no midnight on both sides."""
        super().__post_init__()
        if not _has_bounds(self.start_date) or not _has_bounds(self.finish_date):
            raise UserError("start_date, finish_date: первый и последний день календаря недоступны")
        if self.count > MOST_DAYS:
            raise UserError(f"finish_date: дней {self.count}, за один раз можно не больше {MOST_DAYS}")

    @property
    def count(self) -> int:
        """How many they are."""
        return (self.finish_date - self.start_date).days + 1

    def each(self) -> list[date]:
        """Return them, the earliest first."""
        return [self.start_date + place * _DAY for place in range(self.count)]

    def __str__(self) -> str:
        """Return them as a message names them."""
        if self.count == 1:
            return str(self.start_date)
        return f"{self.start_date} — {self.finish_date}"


@dataclass(frozen=True)
class _Slot:
    """What a schedule tells its job."""

    planned_at: str  # ISO 8601, with its offset


def asked(params: str | None, zone: str) -> Days:
    """Return the days that a job's params mean: `start_date` to `finish_date`, or the day before `planned_at`.

    Args:
        params: JSON text.
        zone: the time zone in which the day before is looked for.

    Raises:
        UserError: they mean none.
    """
    if not _planned(params):
        return parse(Days, params)
    planned_at = parse(_Slot, params).planned_at
    try:
        moment = datetime.datetime.fromisoformat(planned_at)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        day = day_before(moment, zone)
    except (ValueError, OverflowError):
        raise UserError(f"planned_at: нужно время вида 2024-01-31T00:00:00+00:00, а не {planned_at[:40]!r}") from None
    return Days(day, day)


def _planned(params: str | None) -> bool:
    """Tell whether a job has come from a schedule."""
    try:
        given = json.loads(params or "null")
    except (ValueError, RecursionError):
        return False
    return isinstance(given, dict) and "planned_at" in given


def read(text: str) -> date:
    """Read `2024-01-31`, and nothing else that a parser of dates would take for a day; raise ValueError."""
    if not _SHAPE.fullmatch(text):
        raise ValueError("нужна дата вида 2024-01-31")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"дня {text} нет в календаре") from None
    if not _has_bounds(day):
        raise ValueError("первый и последний день календаря недоступны")
    return day


def _has_bounds(day: date) -> bool:
    """Tell whether a day has a day before it and one after it."""
    return date.min < day < date.max


def day_before(moment: datetime.datetime, zone: str) -> date:
    """Return the day before the one to which a moment belongs in a time zone, whatever the zone of this process."""
    return moment.astimezone(ZoneInfo(zone)).date() - _DAY


def yesterday(zone: str) -> date:
    """Return the last day that is over in a time zone."""
    return day_before(datetime.datetime.now(datetime.UTC), zone)


def bounds(day: date, zone: str) -> tuple[datetime.datetime, datetime.datetime]:
    """Return the midnight that begins a day in a time zone and the next one, from 23 to 25 hours later."""
    midnight = datetime.time(tzinfo=ZoneInfo(zone))
    return datetime.datetime.combine(day, midnight), datetime.datetime.combine(day + _DAY, midnight)


def zone_name(value: Any) -> Any:
    """Refuse what is no time zone of the IANA database."""
    value = stripped(value)
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise ValueError("такого часового пояса нет") from None
    return value
