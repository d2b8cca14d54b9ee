"""Schedules that are due at each full hour, and do nothing."""

from __future__ import annotations

from schedules import Schedule


def hourly(**given: object) -> Schedule:
    """A schedule that is as usual but for what is given."""
    return Schedule(**({"name": "hourly", "cron": "0 * * * *", "processing": "nothing"} | given))  # type: ignore[arg-type]
