"""A worker: the loop that holds a lease, hears its children, and stops them before others may take their jobs over.

Which jobs it runs is its subclasses' matter: the queue manager looks for them itself, a worker behind a broker
is told that there are some. While the database is away either tries again with growing pauses.
"""

import contextlib
import os
import random
import select
import time
from typing import Any

import psycopg2

import db
import jobs
import leases
import settings as settings_module
import settling
import systemd
from errors import StorageError
from logs import log
from workers import Crew, Death

#: Seconds that children get to reach their page boundary after SIGTERM; the units' TimeoutStopSec is above it.
DRAIN_SECONDS = 25.0
#: The part of the lease before whose end children are stopped: others may not have taken their jobs over yet.
LEASE_MARGIN = 0.2
#: Seconds between two tries to reach the database: from the first to the longest.
RECONNECT_SECONDS = (0.1, 1.5)
#: What the loop outlives: an outage, a full disk, a right that was taken away and may be given back.
TROUBLE = (db.DatabaseAway, StorageError, psycopg2.Error)


class WorkerLoop:
    """The loop and what it holds: one database connection, one lease, one crew of children.

    Args:
        settings: of this installation.
        conninfo: of the job table's PostgreSQL.
        name: shown to the server's administrator.
        children: how many jobs run at the same time.
        manages: whether this is the queue's own loop.
    """

    def __init__(
        self, settings: settings_module.Settings, conninfo: str, name: str, children: int, *, manages: bool = True
    ) -> None:
        self.settings = settings
        self.database = db.Database(conninfo, name)
        self.me = leases.Worker.this_process(settings.lease_seconds, manages=manages)
        self.crew = Crew(settings, conninfo, self.me.id, children)
        self.deaths: dict[int, Death | None] = {}  # slots whose last job is still to be settled
        self.unsettled: dict[jobs.Fence, Death | None] = {}  # attempts that are over, while somebody holds their rows
        self.greeted: object = None  # the connection that has been made ready
        self.stopping = 0  # how many times somebody has asked it to stop
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

    def serve(self) -> None:
        """Go round until somebody has asked it to stop, then drain."""
        try:
            while not self.stopping:
                self._turn()
            self._drain()
        finally:
            self.crew.close()
            self.database.close()

    # --- what a subclass does in a turn -------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Do what is due once in a period."""
        self._watch_running()

    def _period(self) -> float:
        """Return the seconds from this tick to the next one."""
        return self.settings.poll_seconds

    def _work(self) -> None:
        """Give jobs to idle children."""

    def _listens(self) -> list[Any]:
        """Return what, besides signals and children, ends the wait when it becomes readable."""
        return []

    def _heard(self) -> bool:
        """Read what came that way, without waiting; tell whether the next turn has to come at once."""
        return False

    # --- one turn of the loop ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        began = time.monotonic()
        try:
            self._hear_children()
            self._guard_lease()
            self._connect()
            if time.monotonic() >= self.tick_at:
                self.tick_at = time.monotonic() + self._period()
                self._tick()
            self._settle_lost()
            self._work()
            self._recovered()
            self.watchdog.feed()
        except TROUBLE as error:
            self._away(error)
            return
        self.turn_seconds = max(self.turn_seconds, time.monotonic() - began)
        self._wait(self._next_event())

    def _connect(self) -> None:
        if self.outage and self.settings.embedded:
            db.dsn(self.settings)  # nobody else would start it again
        connection = self.database.connect(min(db.CONNECT_SECONDS, self._patience()))
        if connection is not self.greeted:
            self._renew()
            self._greet()
            self.greeted = connection
            self.tick_at = 0.0
        if time.monotonic() >= self.renew_at:
            self._renew()

    def _greet(self) -> None:
        """Do what a new connection to the database needs."""

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

    def _watch_running(self) -> None:
        """Kill the children of cancelled jobs; settle the jobs that nobody works on."""
        with self.database.statement() as cursor:
            running = jobs.running(cursor, self.me.id)
        held = {}
        for job in running:
            slot = self.crew.slots[job.slot] if job.slot < len(self.crew.slots) else None
            if job.fence in self.unsettled or slot is None or not slot.busy:
                death = self.unsettled.get(job.fence, self.deaths.get(job.slot))
                if not settling.settle(self.database, self.settings, job, death):
                    held[job.fence] = death
            elif job.cancel and slot.started and slot.started.job.id == job.id:
                self.crew.kill(job.slot, "cancelled")
        self.deaths, self.unsettled = {}, held

    def _settle_lost(self) -> None:
        if self.deaths:
            self._watch_running()

    def _vacant(self) -> list[int]:
        """Return the slots that may be given a job."""
        return [slot for slot in self.crew.idle() if slot not in self.deaths]

    def _claim(self, slot: int) -> jobs.Job | None:
        """Claim the next job for an idle child and hand it over; None where there is none."""
        with self.database.statement() as cursor:
            job = jobs.claim(cursor, self.me.id, slot)
        if job is not None:
            self.crew.give(slot, job)
        return job

    def _hear_children(self) -> None:
        for death in self.crew.collect():
            self.deaths[death.slot] = death
        for slot in self.crew.lost():
            self.deaths.setdefault(slot, None)
        self.crew.enforce_time_limits()

    def _next_event(self) -> float:
        return min(self.tick_at, self.renew_at, self.crew.next_deadline(), self.watchdog.due)

    def _wait(self, until: float) -> None:
        """Wait for a child, a signal, for what the subclass listens to, or until a point of monotonic time."""
        if self._heard():
            return  # it came along with the answer to a statement: the socket has nothing more to say
        poll = select.poll()  # bears any number of children, as select.select does not
        for watched in (self.wakeup, *self.crew.channels(), *self._listens()):
            poll.register(watched, select.POLLIN)
        poll.poll(max(0.0, until - time.monotonic()) * 1000)
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, 4096)
        self._heard()

    def wake(self) -> None:
        """End the wait, from whatever thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wakeup_end, b"\0")

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
        self._ask_to_stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        while not self._stands_still() and self.stopping == 1 and time.monotonic() < deadline:
            self._keep_alive()
            self._wait(min(deadline, time.monotonic() + 0.5))
            self._hear_children()
        self.crew.kill_busy("stopping")
        while self.crew.busy() and time.monotonic() < deadline + 2:
            self._hear_children()
            time.sleep(0.01)
        self._leave()
        log.info("stopped")

    def _ask_to_stop(self) -> None:
        """Ask all that runs beside the loop to come to an end."""
        self.crew.stop()

    def _stands_still(self) -> bool:
        """Tell whether all of it has."""
        return not self.crew.busy()

    def _keep_alive(self) -> None:
        try:
            if time.monotonic() >= self.renew_at:
                self._renew()
        except TROUBLE:
            self._guard_lease()

    def _leave(self) -> None:
        try:
            self._watch_running()
            with self.database.statement(2) as cursor:
                self.me.leave(cursor)
        except TROUBLE as error:
            log.warning("left_without_word", extra={"reason": db.one_line(error)})
