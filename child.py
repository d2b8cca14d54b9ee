"""The child's side: runs the jobs it is given, one after the other, and ends with its parent.

A warm child keeps its connections and its imports. When a job ends it settles it and claims the next one in
the same transaction, so that short jobs cost one commit each, and brief ones less; the parent is told of every start.
"""

import contextlib
import multiprocessing
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import psycopg2.extensions

import attempts
import brief
import jobs
import leases
import logs
import prepared
import processings
import storage
import workloads
from db import Cursor, Database, DatabaseAway
from dwh import Warehouse, open_warehouse
from errors import LostJob, QueueError
from logs import log
from parent_death import end_with_parent
from settings import Settings
from tasks import Task

#: Jobs after which a child is replaced by a fresh one.
JOBS_PER_CHILD = 1000
#: Memory, in KiB, at which it is replaced earlier.
CHILD_MEMORY = 300 * 1024


@dataclass(frozen=True)
class Run:
    """From the parent: run this claimed job."""

    job: jobs.Job


@dataclass(frozen=True)
class Stop:
    """From the parent: stop at the next page, claim nothing more."""


@dataclass(frozen=True)
class Started:
    """To the parent: this job runs now, for at most `time_limit` seconds."""

    job: jobs.Job
    time_limit: float


@dataclass(frozen=True)
class Idle:
    """To the parent: nothing runs."""

    retiring: bool  # this child wants to be replaced
    lost: bool  # the last job could not be settled from here


def main(channel: Connection, slot: int, worker: str, settings: Settings, conninfo: str) -> None:
    """Serve the jobs that come in on `channel` until it is closed."""
    end_with_daemon()
    logs.setup(settings)
    if settings.psql_pooled:
        prepared.go_without()
    try:
        workloads.load(settings.integrations)
        _Child(channel, slot, worker, settings, conninfo).serve()
    except Orphaned:
        return
    except Exception:  # else multiprocessing prints it, in many lines and with whatever secrets are in them
        log.critical("child_crashed", extra={"slot": slot}, exc_info=True)
        sys.exit(1)


class Orphaned(BaseException):
    """The daemon is gone: the child ends where it stands. No error of a job: nothing that catches those sees it."""


def end_with_daemon() -> None:
    """Be killed when the daemon ends, however it ends; leave Ctrl-C and SIGTERM to it.

    The kernel watches the fork server, which made this process and ends when the daemon does (see `fork_server`). One
    that ended before the kernel was asked to is found by its absence: no child of the daemon's stands in its place.
    """
    end_with_parent()
    daemon = multiprocessing.parent_process()
    if daemon is not None and leases.parent_of(os.getppid()) != daemon.pid:
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@dataclass(frozen=True)
class _Ended:
    """An attempt that was run."""

    job: jobs.Job
    end: jobs.Settlement
    rows: int  # in its file
    seconds: float


class _Child:
    def __init__(self, channel: Connection, slot: int, worker: str, settings: Settings, conninfo: str) -> None:
        self.channel = channel
        self.slot = slot
        self.worker = worker
        self.settings = settings
        self.database = Database(conninfo, f"tksva_q child {slot}")
        self.opened: Warehouse | None = None
        self.stopped = False
        self.lost = False
        self.ran = 0
        self.rows = 0  # that the newest attempt has in its file

    def serve(self) -> None:
        with contextlib.suppress(DatabaseAway):
            self.database.connect()  # the first job does not wait for it
        while not self.stopped:
            message = self._hear()
            if isinstance(message, Stop):
                return
            self._forget_ended()
            batch = [message.job]
            self.lost = False
            while batch:
                batch = self._run(batch)
            self._tell(Idle(self._is_worn(), self.lost))

    def _forget_ended(self) -> None:
        """Let go of a connection that the server has ended meanwhile: a whole job would be in vain before it shows."""
        connection = self.database.connection
        if connection is not None and not connection.closed and readable(connection):
            self.database.close()

    def stopping(self) -> bool:
        """Tell whether the parent has asked to stop."""
        if not self.stopped and readable(self.channel):
            self.stopped = isinstance(self._hear(), Stop)
        return self.stopped

    def _hear(self) -> Run | Stop:
        try:
            message: Run | Stop = self.channel.recv()
        except (EOFError, OSError):
            raise Orphaned from None
        return message

    def _tell(self, message: Started | Idle) -> None:
        try:
            self.channel.send(message)
        except OSError:
            raise Orphaned from None

    def warehouse(self) -> Warehouse:
        """Return the warehouse, opened by the first job that asks."""
        if self.opened is None:
            self.opened = open_warehouse(self.settings)
        return self.opened

    def _is_worn(self) -> bool:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self.ran >= JOBS_PER_CHILD or used > CHILD_MEMORY

    def _run(self, batch: list[jobs.Job]) -> list[jobs.Job]:
        """Run jobs to their ends and return the next ones, already claimed."""
        runs: list[_Ended] = []
        deadline = time.monotonic() + brief.BATCH_SECONDS
        for job in batch:
            if runs and (self.stopping() or time.monotonic() > deadline):
                break
            began = time.monotonic()
            self.ran += 1
            end = self._attempt(job)
            if end is None:
                self.lost = True
                return []
            runs.append(_Ended(job, end, self.rows, time.monotonic() - began))
        try:
            with self.database.transaction() as cursor:
                runs = self._settle(cursor, runs, batch[len(runs) :])
                goes_on = not self.stopping() and not self._is_worn()
                # Whoever holds the row of a table must not wait for another one's: two children could do so crosswise.
                apart = any(run.job.dwh_table is not None for run in runs)
                following = self._claim(cursor) if goes_on and not apart else []
        except (DatabaseAway, LostJob) as error:
            log.warning("job_lost", extra=_fields(runs[-1].job) | {"reason": str(error)})
            self.lost = True
            return []
        for run in runs:
            job = run.job
            # Not before the job was settled: until then the part files may be those of whoever took it over.
            if run.end.state in {"failed", "cancelled"} and job.user_id is not None:
                storage.remove_parts(self.settings.files_dir, job.user_id, job.id, job.attempt)
            _report(run)
        return self._claim_apart() if goes_on and apart else following

    def _settle(self, cursor: Cursor, runs: list[_Ended], rest: list[jobs.Job]) -> list[_Ended]:
        """End what was run and say how; what a batch had no time for goes back, as if it had not been claimed."""
        ended: list[_Ended] = []
        others: list[_Ended] = []
        for run in runs:
            (ended if run.end is attempts.DONE and len(runs) > 1 else others).append(run)
        brief.settle_done(cursor, [run.job for run in ended])
        for job in rest:
            jobs.settle(cursor, job.fence, None, attempts.NOT_BEGUN)
        for run in others:
            ended.append(replace(run, end=jobs.settle(cursor, run.job.fence, run.job.dwh_table, run.end)))
        return ended

    def _claim_apart(self) -> list[jobs.Job]:
        try:
            with self.database.transaction() as cursor:
                return self._claim(cursor)
        except DatabaseAway:
            self.lost = True  # a job may have been claimed: the parent looks
            return []

    def _claim(self, cursor: Cursor) -> list[jobs.Job]:
        """Claim the next job, and where it is a brief one those of the kind that follow it."""
        job = jobs.claim(cursor, self.worker, self.slot)
        if job is None:
            return []
        forms = processings.brief_ones()
        if job.form not in forms or job.post_id is not None or job.dwh_table is not None:
            return [job]
        return [job, *brief.claim_more(cursor, self.worker, self.slot, forms)]

    def _attempt(self, job: jobs.Job) -> jobs.Settlement | None:
        settings = self.settings
        task = Task(job, settings, self.database, self.warehouse, self.stopping)
        try:
            processing = processings.find(job.form)
            self._tell(Started(job, job.time_limit or processing.time_limit or settings.job_timeout))
            processing.run(task)
        except Exception as error:  # whatever a processing raises ends its attempt, not the child
            if not isinstance(error, QueueError | MemoryError):
                log.exception("job_error", extra=_fields(job))
            end = attempts.after_error(job, error, settings.max_attempts, job.chunk_size or settings.chunk_size)
            if end is None:
                log.warning("job_lost", extra=_fields(job) | {"reason": str(error)})
            return end
        finally:
            self.rows = task.rows
        return attempts.DONE


def readable(channel: Connection | psycopg2.extensions.connection) -> bool:
    """Tell whether a message is there, or the other end gone.

    The channel's own `poll` costs ten times as much, once or twice a job.
    """
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(0))


def _fields(job: jobs.Job) -> dict[str, object]:
    return {"job": job.id, "attempt": job.attempt, "form": job.form, "user": job.user_id}


def _report(run: _Ended) -> None:
    level = log.info if run.end.state == "done" else log.warning
    said = {"rows": run.rows, "seconds": run.seconds, "reason": run.end.reason}
    level("job_" + run.end.outcome.replace(" ", "_"), extra=_fields(run.job) | said)
