"""Cron with time zones: when a schedule is due, and the job that each of its slots becomes."""

from dataclasses import dataclass, field
from typing import Any, Literal


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
    look_back: float = 86400.0  # seconds beyond which a missed slot is forgotten
    overlap: Literal["skip", "queue", "replace"] = "skip"  # while the job of an earlier slot has not ended
    time_limit: float | None = None  # seconds of an attempt; None for the processing's own
    max_attempts: int | None = None  # None for MAX_ATTEMPTS
    pause_seconds: float | None = None  # before the second attempt, growing from then on; None for the usual one
    priority: int = 5  # larger ones first
    enabled: bool = True  # until somebody switches it: `manage.py timers enable|disable`
