"""The service: a loop that once a second purges, takes in, rescues and dispatches. It never works itself.

    python queue_manager.py

A NOTIFY wakes it at once; without it the next second does. While the database is away it tries again with
growing pauses, and stops its children before others may take their jobs over.
"""

import contextlib
import os
import random
import select
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import psycopg2
import psycopg2.extensions

import control
import db
import jobs
import leases
import logs
import processings
import retention
import services as services_module
import settings as settings_module
import settling
import startup
import systemd
import timetable
import workloads
from errors import QueueError, SettingsError, StorageError
from firing import Clock
from inbox import BATCH, Inbox, Request
from logs import log
from schedules import Schedule
from supervisor import Supervisor
from workers import Crew, Death

#: Seconds that children get to reach their page boundary after SIGTERM; the unit's TimeoutStopSec is above it.
DRAIN_SECONDS = 25.0
#: The part of the lease before whose end children are stopped: others may not have taken their jobs over yet.
LEASE_MARGIN = 0.2
#: Seconds between two tries to reach the database: from the first to the longest.
RECONNECT_SECONDS = (0.1, 1.5)


def examine(request: Request) -> str | None:
    """Say which warehouse table a request reads; raise UserError where it cannot become a job."""
    return processings.examine(request.form, request.params, request.file_name)


class QueueManager:
    """The loop and what it holds: one database connection, one crew of children."""

    def __init__(
        self,
        settings: settings_module.Settings,
        conninfo: str,
        schedules: Iterable[Schedule] = (),
        services: Mapping[str, services_module.Service] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.clock = Clock(schedules)
        self.database = db.Database(conninfo, "tksva_q")
        self.me = leases.Worker.this_process(settings.lease_seconds)
        self.inbox = Inbox(examine)
        self.crew = Crew(settings, conninfo, self.me.id)
        self.services = Supervisor(settings, conninfo, self.me.id, services)
        self.deaths: dict[int, Death | None] = {}  # slots whose last job is still to be settled
        self.listening: object = None  # the connection that LISTENs
        self.news = True  # whether new rows may be there: a second has passed, or a notification came
        self.stopping = 0  # how many times SIGTERM or SIGINT came
        self.safe_until = self._safe(time.monotonic())
        self.database.patience = self._patience
        self.renew_at = 0.0
        self.tick_at = 0.0
        self.outage = 0  # tries since the database went away
        self.turn_seconds = 0.0  # of the longest turn since the last renewal
        self.watchdog = systemd.Watchdog()
        self.wakeup, self._wakeup_end = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._wakeup_end, False)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once."""
        signal.set_wakeup_fd(self._wakeup_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            while not self.stopping:
                self._turn()
            self._drain()
        finally:
            signal.set_wakeup_fd(-1)
            self.services.close()
            self.crew.close()
            self.database.close()

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping += 1

    # --- one turn of the loop ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        began = time.monotonic()
        try:
            self._hear_children()
            self._guard_lease()
            self._connect()
            self.services.record(self.database)
            if time.monotonic() >= self.tick_at:
                self.tick_at = time.monotonic() + self.settings.poll_seconds
                self._tick()
            self._settle_lost()
            self.news = bool(self.clock.tick(self.database)) or self.news
            if self.news or self.crew.idle():  # not at every word of a child: short jobs say a thousand a second
                self._dispatch()
            self._recovered()
            self.watchdog.feed()
        except (
            db.DatabaseAway,
            StorageError,
            psycopg2.Error,
        ) as error:  # a right that was taken away may be given back, too
            self._away(error)
            return
        self.turn_seconds = max(self.turn_seconds, time.monotonic() - began)
        self._wait(self._next_event())

    def _connect(self) -> None:
        if self.outage and self.settings.embedded:
            db.dsn(self.settings)  # nobody else would start it again
        connection = self.database.connect(min(db.CONNECT_SECONDS, self._patience()))
        if connection is not self.listening:
            self._renew()
            with self.database.statement() as cursor:
                cursor.execute(f"LISTEN {jobs.CHANNEL}")
            self.listening = connection
            self.tick_at = 0.0
        if time.monotonic() >= self.renew_at:
            self._renew()

    def _renew(self) -> None:
        asked = time.monotonic()
        with self.database.statement() as cursor:
            self.me.renew(cursor, self.turn_seconds)
        self.turn_seconds = 0.0
        self.safe_until = self._safe(asked)
        self.renew_at = asked + self.settings.heartbeat_seconds

    def _patience(self) -> float:
        """Return the seconds that a call may take: the loop must be back in time to stop its children."""
        left = self.safe_until - time.monotonic()
        return left if 0 < left < db.CALL_SECONDS else db.CALL_SECONDS

    def _safe(self, renewed: float) -> float:
        """Return until when children may run if the lease was renewed at this point of monotonic time."""
        return renewed + self.settings.lease_seconds * (1 - LEASE_MARGIN)

    def _tick(self) -> None:
        """Do what is due once a second."""
        self.news = True
        for purged in retention.purge(self.database, self.settings):
            file = {"post": purged.post_id, "user": purged.user_id, "file": purged.name, "bytes": purged.size}
            if purged.fault:
                log.error("file_not_deleted", extra=file | {"reason": purged.fault})
            else:
                log.info("file_purged", extra=file)
        with self.database.statement() as cursor:
            unwanted = retention.unwanted(cursor)
        for job_id in unwanted:
            control.cancel(self.database, self.settings, job_id)
        for job in leases.rescue(self.database, self.me, self.settings.max_attempts):
            settling.clear_parts(self.database, self.settings, job)
            log.warning(
                "job_rescued", extra={"job": job.id, "attempt": job.attempt, "form": job.form, "rows": job.rows}
            )
        self._watch_running()

    def _watch_running(self) -> None:
        """Kill the children of cancelled jobs; settle the jobs that nobody works on."""
        with self.database.statement() as cursor:
            running = jobs.running(cursor, self.me.id)
        for job in running:
            slot = self.crew.slots[job.slot] if job.slot < len(self.crew.slots) else None
            if slot is None or not slot.busy:
                settling.settle(self.database, self.settings, job, self.deaths.get(job.slot))
            elif job.cancel and slot.started and slot.started.job.id == job.id:
                self.crew.kill(job.slot, "cancelled")
        self.deaths = {number: death for number, death in self.deaths.items() if number in self.crew.busy()}

    def _settle_lost(self) -> None:
        if self.deaths:
            self._watch_running()

    # --- work in, work out ------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Take new rows in and hand the oldest jobs to idle children."""
        self.news = False
        taken, refusals = self.inbox.take_in(self.database)
        for refusal in refusals:
            request = refusal.request
            log.warning(
                "job_refused",
                extra={
                    "post": request.post_id,
                    "form": request.form,
                    "user": request.user_id,
                    "reason": refusal.reason,
                },
            )
        if taken == BATCH:  # more are there, perhaps older ones: the order is known when all are in
            self.tick_at = min(self.tick_at, time.monotonic() + 0.001)
            return
        for slot in self.crew.idle():
            if slot in self.deaths:
                continue
            with self.database.statement() as cursor:
                job = jobs.claim(cursor, self.me.id, slot)
            if job is None:
                return
            self.crew.give(slot, job)

    def _hear_children(self) -> None:
        for death in self.crew.collect():
            self.deaths[death.slot] = death
        for slot in self.crew.lost():
            self.deaths.setdefault(slot, None)
        self.crew.enforce_time_limits()
        self.services.watch()

    def _next_event(self) -> float:
        slot = time.monotonic() + self.clock.seconds()  # asked anew each turn: somebody may set the clock
        children = min(self.crew.next_deadline(), self.services.next_event())
        return min(self.tick_at, self.renew_at, children, self.watchdog.due, slot)

    def _wait(self, until: float) -> None:
        """Wait for a notification, a child, a signal, or until a point of monotonic time."""
        connection = self.database.connection
        if connection is not None and self._notified(connection):
            return  # it came along with the answer to a statement: the socket has nothing more to say
        watched: list[Any] = [self.wakeup, *self.crew.channels(), *self.services.channels()]
        if connection is not None and not connection.closed:
            watched.append(connection)
        select.select(watched, [], [], max(0.0, until - time.monotonic()))
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, 4096)
        if connection is not None:
            self._notified(connection)

    def _notified(self, connection: psycopg2.extensions.connection) -> bool:
        """Read what the server has to say, without waiting; tell whether it was that there is work."""
        if connection.closed:
            return False
        try:
            connection.poll()
        except psycopg2.Error:
            self.database.close()  # the next turn finds out whether the server is away
            return False
        came = bool(connection.notifies)
        connection.notifies.clear()
        self.news = self.news or came
        return came

    # --- trouble, and the end ---------------------------------------------------------------------------------------

    def _away(self, error: Exception) -> None:
        """Wait a little longer each time; say so once an outage."""
        if not self.outage:
            log.error("database_away", extra={"reason": db.one_line(error)})
        first, longest = RECONNECT_SECONDS
        pause = min(longest, first * 2**self.outage) * random.uniform(0.7, 1.3)  # noqa: S311 -- jitter, not a secret
        self.outage = min(self.outage + 1, 10)
        self._hear_children()
        self._guard_lease()
        self.watchdog.feed()  # a restart would not bring the database back
        self._wait(time.monotonic() + pause)

    def _recovered(self) -> None:
        if self.outage:
            self.outage = 0
            log.info("database_back")

    def _guard_lease(self) -> None:
        """Stop the children while nobody else may have taken their jobs over yet."""
        if time.monotonic() > self.safe_until and self.crew.busy():
            self.crew.kill_busy("lease lost")

    def _drain(self) -> None:
        """Let the children reach their page boundary, give back what they could not, and leave the list of workers."""
        log.info("stopping", extra={"running": len(self.crew.busy())})
        systemd.notify("STOPPING=1")
        self.crew.stop()
        self.services.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        while (self.crew.busy() or self.services.running()) and self.stopping == 1 and time.monotonic() < deadline:
            self._keep_alive()
            self._wait(min(deadline, time.monotonic() + 0.5))
            self._hear_children()
        self.crew.kill_busy("stopping")
        while self.crew.busy() and time.monotonic() < deadline + 2:
            self._hear_children()
            time.sleep(0.01)
        self._leave()
        log.info("stopped")

    def _keep_alive(self) -> None:
        try:
            if time.monotonic() >= self.renew_at:
                self._renew()
        except db.DatabaseAway:
            self._guard_lease()

    def _leave(self) -> None:
        try:
            self._watch_running()
            with self.database.statement(2) as cursor:
                self.me.leave(cursor)
        except (db.DatabaseAway, QueueError) as error:
            log.warning("left_without_word", extra={"reason": str(error)})


def main() -> NoReturn:
    """Read the settings, prepare the database, serve."""
    try:
        settings = settings_module.load()
        enabled = workloads.load(settings.integrations)
        schedules, services = timetable.defined(enabled), services_module.defined(enabled)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    logs.setup(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        conninfo = startup.prepare_when_possible(settings)
        manager = QueueManager(settings, conninfo, schedules, services)
    except QueueError as error:
        log.error("not_started", extra={"reason": str(error)})
        sys.exit(1)
    systemd.notify("READY=1")
    manager.run()
    sys.exit(0)


if __name__ == "__main__":
    # Or every new child would run this file again, imports and all: a third of a second, and a newer file's by then.
    del __file__
    main()
