"""Who is alive: workers renew a lease; the jobs of one that is dead are taken over.

A worker on the same machine is asked of the kernel, so that a restarted service takes its own jobs back at
once; one on another machine is dead when its lease has run out.
"""

import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import counters
import jobs
import queueing
import table_lock
from attempts import after_loss
from db import Cursor, Database
from errors import LostJob, RowHeld
from prepared import Prepared

#: Seconds after which the rest of the jobs of dead workers is left to the next call: the caller has a lease of its own.
RESCUE_SECONDS = 1.0

# The other workers, and those that have jobs and are in no list.
_OTHERS = Prepared(
    "tksva_q_others",
    """
SELECT id::text, seen_at::text, host, process, seen_at + make_interval(secs => lease_seconds) < clock_timestamp()
FROM tksva_q.worker WHERE id <> %(me)s
UNION ALL
SELECT DISTINCT worker::text, NULL, '', '', true FROM tksva_q.job WHERE state = 'running'
  AND NOT EXISTS (SELECT FROM tksva_q.worker WHERE worker.id = job.worker)
""",
)


def host_id() -> str:
    """Return a name for where a process id means something: the machine, its boot, its pid namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"


def process_id(pid: int) -> str | None:
    """Return `pid` with its start time, which a recycled pid does not share; None where no such process lives."""
    fields = _stat(pid)
    return None if not fields or fields[0] in "ZX" else f"{pid}:{fields[19]}"


def parent_of(pid: int) -> int | None:
    """Return the process that `pid` is a child of; None where there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, the state first; nothing where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()  # after the command's name, which may hold blanks and brackets


@dataclass(frozen=True)
class Worker:
    """This process, as the other ones see it."""

    id: str  # a new one each start
    host: str
    process: str
    lease_seconds: float
    manages: bool = True  # its loop is the queue's: where none goes round, monitoring says that the queue stands

    @classmethod
    def this_process(cls, lease_seconds: float, *, manages: bool = True) -> "Worker":
        """Return a new identity for the calling process."""
        process = process_id(os.getpid()) or str(os.getpid())
        return cls(str(uuid.uuid4()), host_id(), process, lease_seconds, manages)

    def renew(self, cursor: Cursor, loop_seconds: float | None = None) -> None:
        """Say that the worker lives; also after others have given it up.

        Args:
            cursor: on the job table's database.
            loop_seconds: how long the longest turn of its loop took since it last said so.
        """
        cursor.execute(
            "INSERT INTO tksva_q.worker (id, host, process, lease_seconds, loop_at, loop_seconds)"
            " VALUES (%s, %s, %s, %s, CASE WHEN %s THEN clock_timestamp() END, %s)"
            " ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), loop_at = excluded.loop_at,"
            "   loop_seconds = excluded.loop_seconds",
            (self.id, self.host, self.process, self.lease_seconds, self.manages, loop_seconds),
        )

    def leave(self, cursor: Cursor) -> None:
        """Take the worker out of the list, when its jobs are settled."""
        cursor.execute(
            "DELETE FROM tksva_q.worker WHERE id = %s"
            " AND NOT EXISTS (SELECT FROM tksva_q.job WHERE worker = %s AND state = 'running')",
            (self.id, self.id),
        )


def rescue(database: Database, me: Worker, max_attempts: int) -> list[jobs.Job]:
    """Take the jobs of dead workers back to the queue, each in a transaction of its own.

    Returns:
        The jobs that were taken back: not all there are where it took RESCUE_SECONDS, the next call goes on.
    """
    rescued: list[jobs.Job] = []
    until = time.monotonic() + RESCUE_SECONDS
    for worker, seen_at in _dead(database, me):
        with database.statement() as cursor:
            left = jobs.running(cursor, worker)
        for job in left:
            if _take_back(database, job, max_attempts):
                rescued.append(job)
            if time.monotonic() > until:
                return rescued
        with database.statement() as cursor:
            cursor.execute(  # unless it has renewed meanwhile: it lives, and may claim again
                "DELETE FROM tksva_q.worker WHERE id = %s AND seen_at::text = %s"
                " AND NOT EXISTS (SELECT FROM tksva_q.job WHERE worker = %s AND state = 'running')",
                (worker, seen_at, worker),
            )
    return rescued


def _dead(database: Database, me: Worker) -> list[tuple[str, str | None]]:
    """Return the ids of the workers that are dead, and when each was last seen (None where nobody knows it)."""
    with database.statement() as cursor:
        _OTHERS.run(cursor, {"me": me.id})
        workers = cursor.fetchall()
    return [
        (worker, seen_at)
        for worker, seen_at, host, process, expired in workers
        if expired or (host == me.host and process_id(int(process.split(":")[0])) != process)
    ]


def _take_back(database: Database, job: jobs.Job, max_attempts: int) -> bool:
    end = after_loss(job, "the worker died", max_attempts)
    try:
        with database.transaction() as cursor:
            jobs.lock_or_leave(cursor, job.id)
            jobs.settle(cursor, job.fence, job.dwh_table, end)
            counters.add_rescued(cursor, job.form)
            queueing.wake(cursor)
    except (LostJob, RowHeld):  # another daemon was quicker, or somebody holds it: the next call finds it again
        return False
    return True


def release_stale_locks(database: Database) -> list[str]:
    """Take away the marks on warehouse tables that a crash left behind; return the tables' names."""
    with database.transaction() as cursor:
        return table_lock.release_stale(cursor)
