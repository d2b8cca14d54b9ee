"""What a person sees of the schedules and may do to them, by whichever door they come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import queueing
from db import Cursor, Database
from firing import queue_by_hand
from schedules import Schedule, check, next_slot, starts_at
from workloads import Workload

_LISTING = """
SELECT known.name, known.enabled, slot.planned_at, slot.fate,
       job.id, job.state, job.error, job.started_at, job.finished_at,
       extract(epoch FROM coalesce(job.finished_at, now()) - job.started_at)::float8
FROM unnest(%s::text[]) AS wanted (name)
JOIN tksva_q.schedule AS known ON known.name = wanted.name
LEFT JOIN LATERAL (SELECT planned_at, fate FROM tksva_q.slot WHERE schedule = known.name
                   ORDER BY planned_at DESC LIMIT 1) AS slot ON true
LEFT JOIN LATERAL (SELECT * FROM tksva_q.job WHERE schedule = known.name ORDER BY id DESC LIMIT 1) AS job ON true
"""


@dataclass(frozen=True)
class Line:
    """A schedule, as a person sees it; what never was is None."""

    schedule: Schedule
    enabled: bool
    next_at: datetime | None  # when the next slot begins, its jitter included; None: switched off
    planned_at: datetime | None = None  # the last slot that was decided
    fate: str | None = None  # of that slot: fired, missed, overlap, replaced
    job_id: int | None = None  # the last job, whether planned or started by hand
    state: str | None = None  # of that job: waiting, running, done, failed, cancelled
    error: str | None = None  # why it failed, or why it was not made
    started_at: datetime | None = None
    finished_at: datetime | None = None
    seconds: float | None = None  # that it took, or has taken so far


def defined(workloads: Iterable[Workload]) -> tuple[Schedule, ...]:
    """Return the schedules that workloads bring along.

    Raises:
        SettingsError: one of them makes no sense.
    """
    return check(schedule for workload in workloads for schedule in workload.part("SCHEDULES"))


def listing(cursor: Cursor, schedules: Iterable[Schedule], now: datetime | None = None) -> list[Line]:
    """Return a line for each schedule, in their order; three look-ups by an index each."""
    wanted = list(schedules)
    cursor.execute(_LISTING, ([schedule.name for schedule in wanted],))
    known = {row[0]: row[1:] for row in cursor.fetchall()}
    now = now or datetime.now(UTC)
    lines = []
    for schedule in wanted:
        switch, *rest = known.get(schedule.name, (None,))
        enabled = schedule.enabled if switch is None else switch
        after = starts_at(schedule, next_slot(schedule, now)) if enabled else None
        lines.append(Line(schedule, enabled, after, *rest))
    return lines


def enable(cursor: Cursor, schedule: Schedule) -> None:
    """Switch a schedule on, from now on: what it would have done meanwhile is not made up."""
    _switch(cursor, schedule, on=True)


def disable(cursor: Cursor, schedule: Schedule) -> None:
    """Switch a schedule off; a job that waits or runs goes on."""
    _switch(cursor, schedule, on=False)


def _switch(cursor: Cursor, schedule: Schedule, *, on: bool) -> None:
    _know(cursor, schedule)
    cursor.execute(
        "UPDATE tksva_q.schedule SET enabled = %(on)s, considered_at = CASE"
        "   WHEN %(on)s AND NOT coalesce(enabled, %(defined)s)"
        "   THEN greatest(considered_at, clock_timestamp()) ELSE considered_at END"
        " WHERE name = %(name)s",
        {"on": on, "defined": schedule.enabled, "name": schedule.name},
    )


def _know(cursor: Cursor, schedule: Schedule) -> None:
    cursor.execute(
        "INSERT INTO tksva_q.schedule (name, definition, considered_at) VALUES (%s, %s, now()) ON CONFLICT DO NOTHING",
        (schedule.name, schedule.definition),
    )


def start(database: Database, schedule: Schedule) -> int | None:
    """Run a schedule now, outside of its plan and whether it is on or not.

    Returns:
        The job's id; None where an earlier job has not ended and the overlap policy is to skip.
    """
    with database.transaction() as cursor:
        _know(cursor, schedule)
        cursor.execute("SELECT FROM tksva_q.schedule WHERE name = %s FOR UPDATE", (schedule.name,))
        return queue_by_hand(cursor, schedule)


def stop(database: Database, schedule: Schedule) -> list[int]:
    """Cancel the jobs of a schedule that wait or run; return their ids."""
    with database.transaction() as cursor:
        cursor.execute(
            "SELECT id FROM tksva_q.job WHERE schedule = %s AND state IN ('waiting', 'running') ORDER BY id",
            (schedule.name,),
        )
        return [job for (job,) in cursor.fetchall() if queueing.cancel(cursor, job)]
