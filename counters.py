"""What monitoring counts, as migration 0003 keeps it: every process adds to it, whoever reads adds it up.

The ends of jobs are counted by a trigger on the job's row; here stands what only code can tell, and the reading.
"""

import datetime
import itertools
from dataclasses import dataclass
from typing import Final

from db import Cursor

#: Upper bounds of the histogram of seconds, without the last, infinite one; migration 0003 counts by them.
BOUNDS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 10800, 21600)


@dataclass(frozen=True)
class Ended:
    """Jobs of one form that ended in one way."""

    form: str
    outcome: str  # done, failed, cancelled
    jobs: int


@dataclass(frozen=True)
class Durations:
    """How long the jobs of one form took from their first start to their end."""

    form: str
    counts: tuple[int, ...]  # jobs in each bucket, as many as BOUNDS and one more
    seconds: float  # of all of them


@dataclass(frozen=True)
class Counts:
    """Everything that is counted."""

    ended: tuple[Ended, ...]
    durations: tuple[Durations, ...]
    rows: dict[str, int]  # form -> rows in finished files
    bytes: dict[str, int]  # format -> bytes of finished files
    requeued: dict[str, int]  # form -> attempts after which the job went back to the queue
    present: dict[str, int]  # done, failed, cancelled -> jobs that are in this state now
    rescued: int  # jobs taken over from workers that died


@dataclass(frozen=True)
class Hour:
    """The jobs that ended within an hour."""

    begin: datetime.datetime
    done: int
    failed: int
    cancelled: int
    waited: float  # seconds between queueing and start, on average
    waited_longest: float  # seconds


def add_rescued(cursor: Cursor, form: str | None) -> None:
    """Count a job that is taken over from a worker that died; the caller's last lock but those of its commit."""
    cursor.execute(
        "INSERT INTO tksva_q.counter AS c (form, outcome, format, bucket, spread, jobs, present, seconds, rows, bytes)"
        " VALUES (%s, 'rescued', '', -1, pg_backend_pid() %% 16, 1, 0, 0, 0, 0)"
        " ON CONFLICT (form, outcome, format, bucket, spread) DO UPDATE SET jobs = c.jobs + 1",
        (form or "",),
    )


def read(cursor: Cursor) -> Counts:
    """Return everything that is counted."""
    cursor.execute(
        "SELECT form, outcome, format, bucket, sum(jobs)::bigint, sum(present)::bigint, sum(seconds),"
        " sum(rows)::bigint, sum(bytes)::bigint FROM tksva_q.counter GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    ended: dict[tuple[str, str], int] = {}
    buckets: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    by_form: dict[str, dict[str, int]] = {"rows": {}, "requeued": {}, "rescued": {}}
    by_format: dict[str, int] = {}
    present: dict[str, int] = {"done": 0, "failed": 0, "cancelled": 0}
    for form, outcome, file_format, bucket, jobs, now, took, rows, size in cursor.fetchall():
        if outcome not in present:
            by_form[outcome][form] = by_form[outcome].get(form, 0) + jobs
            continue
        ended[form, outcome] = ended.get((form, outcome), 0) + jobs
        present[outcome] += now
        if bucket >= 0:
            buckets.setdefault(form, [0] * (len(BOUNDS) + 1))[bucket] += jobs
            seconds[form] = seconds.get(form, 0.0) + took
        if file_format and outcome == "done":
            by_form["rows"][form] = by_form["rows"].get(form, 0) + rows
            by_format[file_format] = by_format.get(file_format, 0) + size
    return Counts(
        tuple(Ended(form, outcome, jobs) for (form, outcome), jobs in ended.items()),
        tuple(Durations(form, tuple(counts), seconds[form]) for form, counts in buckets.items()),
        by_form["rows"],
        by_format,
        by_form["requeued"],
        present,
        sum(by_form["rescued"].values()),
    )


def cumulated(durations: Durations) -> list[tuple[str, float]]:
    """Return a histogram as Prometheus wants it: upper bound -> jobs that took at most that long."""
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, (float(jobs) for jobs in itertools.accumulate(durations.counts)), strict=True))


def hours(cursor: Cursor, how_many: int = 24) -> tuple[Hour, ...]:
    """Return the last hours, the present one included, the oldest first; an hour without jobs is there too."""
    cursor.execute(
        "SELECT begin, coalesce(sum(done), 0)::bigint, coalesce(sum(failed), 0)::bigint,"
        "   coalesce(sum(cancelled), 0)::bigint, coalesce(sum(waited) / nullif(sum(started), 0), 0),"
        "   coalesce(max(waited_longest), 0)"
        " FROM generate_series(date_trunc('hour', now(), 'UTC') - make_interval(hours => %s),"
        "   date_trunc('hour', now(), 'UTC'), '1 hour') begin"
        " LEFT JOIN tksva_q.hour ON hour.hour = begin GROUP BY 1 ORDER BY 1",
        (how_many - 1,),
    )
    return tuple(Hour(*row) for row in cursor.fetchall())
