"""Cron with time zones: when a schedule is due.

The fields are read by cronsim, and the rule at the change of the clocks is Debian cron's (its `cron(8)`, "daylight
saving time"): see `slots`. It is applied here and not by cronsim, which loses slots where the clock moves by half an
hour (Australia/Lord_Howe) and where the seconds are given.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

import processings
from errors import SettingsError, UserError

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
#: Fields of a cron expression: six have the seconds first.
FIELDS = (5, 6)


@dataclass(frozen=True)
class Schedule:
    """Work that begins by the clock."""

    name: str  # unique among all schedules of an installation
    cron: str  # five fields, or six with the seconds first
    processing: str  # what each slot's job runs
    params: dict[str, Any] = field(default_factory=dict)  # of the job, which also gets `planned_at`, ISO 8601 in UTC
    zone: str = "UTC"  # IANA time zone in which `cron` is meant
    jitter: float = 0.0  # seconds by which a slot may begin later, at random
    missed: Literal["skip", "once", "all"] = "once"  # what becomes of slots while no daemon lived
    look_back: float = 86400.0  # seconds beyond which a missed slot is forgotten, the last one of `once` excepted
    overlap: Literal["skip", "queue", "replace"] = "skip"  # while the job of an earlier slot has not ended
    time_limit: float | None = None  # seconds of an attempt; None for the processing's own
    max_attempts: int | None = None  # None for MAX_ATTEMPTS
    pause_seconds: float | None = None  # before the second attempt, growing from then on; None for the usual one
    priority: int = 5  # larger ones first
    enabled: bool = True  # until somebody switches it: `manage.py timers enable|disable`

    @property
    def definition(self) -> str:
        """What decides its slots: with another one the schedule begins anew."""
        return json.dumps([self.cron, self.zone, self.enabled])


def slots(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the slots after a moment, in UTC, each once and in their order.

    Where hour and minute are given (neither begins with `*`), a slot that the clock jumps over is due right after the
    jump, and one whose hour comes twice is due the first time. Where one of them is open (`*`, `*/5`) the schedule
    means a distance in time: it is due whenever the clock shows a matching time, in a repeated hour again, and in one
    that is jumped over not at all.
    """
    zone = ZoneInfo(schedule.zone)
    minute, hour = schedule.cron.split()[-5:-3]
    fixed = not minute.startswith("*") and not hour.startswith("*")
    return _at_times(schedule.cron, zone, after) if fixed else _at_distances(schedule.cron, zone, after)


def _at_times(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    last = after.astimezone(UTC)
    for shown in CronSim(cron, after.astimezone(zone).replace(tzinfo=None)):
        moment = shown.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != shown:  # the clock never shows it
            moment = _change(zone, moment - _DAY, moment)
        if moment > last:
            last = moment
            yield moment


def _at_distances(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    moment = after.astimezone(UTC).replace(microsecond=0)
    offset = _offset(zone, moment)
    while True:
        shown = next(CronSim(cron, (moment + offset).replace(tzinfo=None)), None)
        if shown is None:
            return
        found = shown.replace(tzinfo=UTC) - offset
        seen = min(found, moment + _DAY)  # no zone changes its clock twice a day
        if _offset(zone, seen) != offset:
            change = _change(zone, moment, seen)
            moment, offset = change - _SECOND, _offset(zone, change)
            continue
        moment = seen
        if seen == found:
            yield found


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _change(zone: ZoneInfo, before: datetime, until: datetime) -> datetime:
    """Return the first second of (before, until] that has the offset of `until`."""
    new = _offset(zone, until)
    low, high = 0, int((until - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, before + middle * _SECOND) == new:
            high = middle
        else:
            low = middle
    return before + high * _SECOND


def next_slot(schedule: Schedule, after: datetime) -> datetime:
    """Return the first slot after a moment."""
    return next(slots(schedule, after))


def starts_at(schedule: Schedule, planned: datetime) -> datetime:
    """Return when the job of a slot may begin: its jitter is the same for whoever asks."""
    digest = hashlib.sha256(f"{schedule.name} {planned.timestamp()}".encode()).digest()
    return planned + timedelta(seconds=schedule.jitter * int.from_bytes(digest[:4], "big") / 2**32)


def check(schedules: Iterable[Schedule]) -> tuple[Schedule, ...]:
    """Return the schedules, after a look at what nobody could keep.

    Raises:
        SettingsError: one of them makes no sense; says which one and why in one line.
    """
    known: dict[str, Schedule] = {}
    for schedule in schedules:
        if schedule.name in known:
            raise SettingsError(f"расписание {schedule.name}: такое название уже есть")
        if fault := _fault(schedule):
            raise SettingsError(f"расписание {schedule.name}: {fault}")
        known[schedule.name] = schedule
    return tuple(known.values())


def _fault(schedule: Schedule) -> str | None:
    known = {"missed": ("skip", "once", "all"), "overlap": ("skip", "queue", "replace")}
    wrong = [name for name, words in known.items() if getattr(schedule, name) not in words]
    wrong += [name for name in ("jitter", "look_back", "pause_seconds") if (getattr(schedule, name) or 0) < 0]
    limits = {name: getattr(schedule, name) for name in ("time_limit", "max_attempts")}
    wrong += [name for name, limit in limits.items() if limit is not None and limit <= 0]
    if wrong:
        return f"{wrong[0]}: недопустимое значение {getattr(schedule, wrong[0])!r}"
    try:
        if processings.find(schedule.processing).makes_file:
            return f"обработка {schedule.processing} готовит файл, а его некому отдать"
    except UserError as error:
        return str(error)
    return fault_of_time(schedule)


def fault_of_time(schedule: Schedule) -> str | None:
    """Return what is wrong with the cron expression or the time zone of a schedule, None where it is due some time."""
    try:
        ZoneInfo(schedule.zone)
    except (OSError, ValueError, KeyError):
        return f"нет часового пояса {schedule.zone!r}; пример: Europe/Moscow"
    try:
        if len(schedule.cron.split()) in FIELDS and next(slots(schedule, datetime.now(UTC)), None):
            return None
    except CronSimError as error:
        return f"cron {schedule.cron!r}: {error}; пример: */15 * * * *"
    return f"cron {schedule.cron!r}: нет такого времени; пример: */15 * * * *"
