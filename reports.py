"""What there is to see: the queue at a glance, lists of jobs, one job with all its attempts. Reads, never writes.

The command line, the page and the API show what these functions return. Each of them costs what it returns, and
what waits or runs. Besides, `status` counts the jobs that have failed, a later page of `list_jobs` passes over the
earlier ones, and `show` adds up the pages of its job. None reads all jobs that have ended.
"""

import datetime
from dataclasses import dataclass
from typing import Any, Final, get_args

from db import Cursor
from jobs import State

#: Jobs on a page of a list.
PAGE_SIZE = 50
#: Pages of an export that `show` returns, the newest ones.
PAGES_SHOWN = 20

STATES: Final[tuple[State, ...]] = get_args(State)


@dataclass(frozen=True)
class JobRow:
    """A job, as lists show it."""

    id: int
    post_id: int | None  # the web UI's row
    user_id: int | None
    form: str | None
    file_name: str | None
    state: State
    rows: int  # in the file
    total: int | None  # counted at the start
    bytes: int
    attempt: int  # number of the newest attempt
    spent: int  # attempts that count towards MAX_ATTEMPTS
    cancel: bool  # somebody asked it to stop
    error: str | None  # why it failed, or why its last attempt did
    priority: int
    queued_at: datetime.datetime  # by the clock of whoever queued it, without a zone
    run_at: datetime.datetime  # a waiting job does not start before
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    purged_at: datetime.datetime | None  # when its file was deleted

    @property
    def share(self) -> float:
        """How much of the job is done, from 0 to 1."""
        if self.state == "done" or self.total == 0:
            return 1.0
        return min(1.0, self.rows / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job."""

    number: int
    host: str | None  # of the worker
    slot: int | None  # which child of the worker
    started_at: datetime.datetime
    finished_at: datetime.datetime | None
    outcome: str | None  # done, failed, retry, given back, cancelled; None while it runs
    reason: str | None
    rows_before: int  # in the file when it began
    rows_after: int | None


@dataclass(frozen=True)
class ExportPage:
    """What one page of an export took."""

    attempt: int
    number: int
    rows: int
    bytes: int
    seconds: dict[str, float]  # step -> seconds: fetch, format, compress, write, and the whole page
    finished_at: datetime.datetime


@dataclass(frozen=True)
class JobDetail:
    """All there is to know about a job."""

    job: JobRow
    params: str | None  # JSON text as it came in
    table: str | None  # the warehouse table it reads
    attempts: tuple[Attempt, ...]  # the oldest first
    pages: tuple[ExportPage, ...]  # the newest ones, the oldest of them first
    page_count: int
    seconds: dict[str, float]  # sums over all pages, as in ExportPage


@dataclass(frozen=True)
class WorkerRow:
    """A queue manager."""

    id: str
    host: str
    pid: int
    alive: bool  # it has renewed its lease in time
    loop_seconds: float | None  # since its loop was last known to go round
    running: int  # jobs


@dataclass(frozen=True)
class TableRow:
    """A warehouse table under the Inspector's lock."""

    name: str
    wants_to_refresh: bool  # no job starts on it
    gives_information: bool  # a job reads it
    refresh_seconds: float | None  # since `wants_to_refresh` last changed


@dataclass(frozen=True)
class Status:
    """The queue at a glance."""

    waiting: int
    paused: int  # those of them that wait for the time of their next attempt
    incoming: int  # rows of `post` that no queue manager has taken in yet
    oldest_waiting_seconds: float | None
    running: tuple[JobRow, ...]
    failed: int
    last_loop_seconds: float | None  # since the loop of any queue manager was last known to go round
    workers: tuple[WorkerRow, ...]
    tables: tuple[TableRow, ...]


@dataclass(frozen=True)
class Filter:
    """Which jobs a list shows: those for which everything that is not None holds."""

    state: State | None = None
    form: str | None = None
    user_id: int | None = None


@dataclass(frozen=True)
class JobPage:
    """A page of a list, the newest job first."""

    jobs: tuple[JobRow, ...]
    page: int  # from 1
    more: bool  # there is a next page


_JOB = """j.id, j.post_id, j.user_id, j.form, j.file_name, j.state, j.rows, j.total, j.bytes, j.attempt, j.spent,
    j.cancel, j.error, j.priority, j.queued_at, j.run_at, j.started_at, j.finished_at, j.purged_at"""

_RUNNING = f"SELECT {_JOB} FROM tksva_q.job j WHERE state = 'running' ORDER BY started_at, id"  # noqa: S608

_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE run_at > now()),
       extract(epoch FROM localtimestamp - min(queued_at))::float,
       (SELECT count(*) FROM tksva_q.job WHERE state = 'failed'),
       (SELECT count(*) FROM post p WHERE p.task_status = 'в очереди' AND NOT EXISTS
           (SELECT FROM tksva_q.job j WHERE j.post_id = p.id AND j.state IN ('waiting', 'running')))
FROM tksva_q.job WHERE state = 'waiting'
"""

_WORKERS = """
SELECT id::text, host, process, seen_at + make_interval(secs => lease_seconds) > clock_timestamp(),
       extract(epoch FROM clock_timestamp() - loop_at)::float,
       (SELECT count(*) FROM tksva_q.job WHERE job.worker = worker.id AND state = 'running')
FROM tksva_q.worker ORDER BY started_at
"""

_TABLES = """
SELECT dwh_table_name, coalesce(wants_to_refresh, false), coalesce(gives_information, false),
       extract(epoch FROM localtimestamp - wants_to_refresh_timestamp)::float
FROM dwh_tables_info ORDER BY 1
"""

_STEPS = """
SELECT step, sum(value::float) FROM tksva_q.page, json_each_text(seconds) s (step, value)
WHERE job_id = %s GROUP BY step ORDER BY step
"""


def status(cursor: Cursor) -> Status:
    """Return the queue at a glance."""
    cursor.execute(_COUNTS)
    waiting, paused, oldest, failed, incoming = _rows(cursor)[0]
    cursor.execute(_RUNNING)
    running = tuple(JobRow(*row) for row in _rows(cursor))
    cursor.execute(_WORKERS)
    workers = tuple(
        WorkerRow(key, host.split(" ")[0], int(process.split(":")[0]), alive, loop, jobs)
        for key, host, process, alive, loop, jobs in _rows(cursor)
    )
    cursor.execute(_TABLES)
    tables = tuple(TableRow(*row) for row in _rows(cursor))
    loops = [worker.loop_seconds for worker in workers if worker.loop_seconds is not None]
    return Status(waiting, paused, incoming, oldest, running, failed, min(loops, default=None), workers, tables)


def list_jobs(cursor: Cursor, wanted: Filter, page: int = 1, size: int = PAGE_SIZE) -> JobPage:
    """Return a page of the jobs that are wanted, the newest first.

    Args:
        cursor: on the job table's database.
        wanted: which jobs.
        page: from 1; none but the first ones are quick, a thousand jobs take a millisecond.
        size: jobs on a page.
    """
    # A step per state that has an index of its own, so that none of them reads what it does not return.
    ended = [state for state in ("done", "failed", "cancelled") if wanted.state in {None, state}]
    live = [state for state in ("waiting", "running") if wanted.state in {None, state}]
    more = "".join(
        f" AND {column} = %({column})s" for column in ("form", "user_id") if getattr(wanted, column) is not None
    )
    newest = "ORDER BY id DESC LIMIT %(last)s"
    steps = [f"(SELECT id FROM tksva_q.job WHERE state = '{state}'{more} {newest})" for state in ended]  # noqa: S608
    steps += [
        # OFFSET 0: else a planner that thinks waiting jobs common would look for them from the newest job on.
        f"(SELECT id FROM (SELECT id FROM tksva_q.job WHERE state = '{state}'{more} OFFSET 0) live {newest})"  # noqa: S608
        for state in live
    ]
    first = (max(1, page) - 1) * size
    cursor.execute(
        f"SELECT {_JOB} FROM (SELECT id FROM ({' UNION ALL '.join(steps)}) found"  # noqa: S608 -- of the constants above
        " ORDER BY id DESC LIMIT %(size)s OFFSET %(first)s) page JOIN tksva_q.job j USING (id) ORDER BY j.id DESC",
        {"form": wanted.form, "user_id": wanted.user_id, "first": first, "size": size + 1, "last": first + size + 1},
    )
    rows = [JobRow(*row) for row in _rows(cursor)]
    return JobPage(tuple(rows[:size]), max(1, page), len(rows) > size)


def next_jobs(cursor: Cursor, size: int = PAGE_SIZE) -> tuple[JobRow, ...]:
    """Return the jobs that wait, in the order in which they start."""
    cursor.execute(
        f"SELECT {_JOB} FROM tksva_q.job j WHERE state = 'waiting' ORDER BY priority DESC, queued_at, id LIMIT %s",  # noqa: S608
        (size,),
    )
    return tuple(JobRow(*row) for row in _rows(cursor))


def show(cursor: Cursor, job_id: int, pages: int = PAGES_SHOWN) -> JobDetail | None:
    """Return all about a job, with at most `pages` of its pages; None where there is no such job."""
    cursor.execute(f"SELECT {_JOB}, j.params::text, j.dwh_table FROM tksva_q.job j WHERE id = %s", (job_id,))  # noqa: S608
    found = _rows(cursor)
    if not found:
        return None
    cursor.execute(
        "SELECT attempt, host, slot, started_at, finished_at, outcome, reason, rows_before, rows_after"
        " FROM tksva_q.attempt WHERE job_id = %s ORDER BY attempt",
        (job_id,),
    )
    attempts = tuple(
        Attempt(number, host.split(" ")[0] if host else None, *rest) for number, host, *rest in _rows(cursor)
    )
    cursor.execute(_STEPS, (job_id,))
    seconds = dict(_rows(cursor))
    cursor.execute("SELECT count(*) FROM tksva_q.page WHERE job_id = %s", (job_id,))
    count = _rows(cursor)[0][0]
    cursor.execute(
        "SELECT attempt, page, rows, bytes, seconds, finished_at FROM tksva_q.page WHERE job_id = %s"
        " ORDER BY attempt DESC, page DESC LIMIT %s",
        (job_id, pages),
    )
    newest = tuple(ExportPage(*row) for row in reversed(_rows(cursor)))
    *job, params, table = found[0]
    return JobDetail(JobRow(*job), params, table, attempts, newest, count, seconds)


def _rows(cursor: Cursor) -> list[tuple[Any, ...]]:
    return cursor.fetchall()
