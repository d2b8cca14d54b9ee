"""The service: a loop that once a second purges, takes in, rescues and dispatches. It never works itself.

    python queue_manager.py

A NOTIFY wakes it at once; without it the next second does. While the database is away it tries again with
growing pauses, and stops its children before others may take their jobs over.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import psycopg2
import psycopg2.extensions

import brokers
import control
import dwh
import leases
import logs
import processings
import queueing
import retention
import services as services_module
import settings as settings_module
import settling
import startup
import systemd
import timetable
import workloads
from dispatch import Dispatcher
from errors import QueueError, RowHeld, SettingsError
from firing import Clock
from inbox import BATCH, Inbox, Request
from logs import log
from schedules import Schedule
from supervisor import Supervisor
from worker_loop import WorkerLoop

#: Seconds after which the rest of the jobs that nobody wants is left to the next second: the loop has a lease to renew.
CANCEL_SECONDS = 1.0


def examine(request: Request) -> str | None:
    """Say which warehouse table a request reads; raise UserError where it cannot become a job."""
    return processings.examine(request.form, request.params, request.file_name)


class QueueManager(WorkerLoop):
    """The worker that looks for jobs itself, and does what is everybody's: purging, taking in, schedules, rescuing."""

    def __init__(
        self,
        settings: settings_module.Settings,
        conninfo: str,
        schedules: Iterable[Schedule] = (),
        services: Mapping[str, services_module.Service] = MappingProxyType({}),
    ) -> None:
        # Behind a broker the jobs run in workers of their own, on whatever machines.
        super().__init__(settings, conninfo, "tksva_q", 0 if settings.broker_url else settings.workers)
        self.dispatcher = Dispatcher(settings, conninfo) if settings.broker_url else None
        self.services = Supervisor(settings, conninfo, self.me.id, services)
        self.clock = Clock(schedules)
        self.inbox = Inbox(examine)
        self.news = True  # whether new rows may be there: a second has passed, or a notification came

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends at once."""
        signal.set_wakeup_fd(self._wakeup_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self.dispatcher:
            self.dispatcher.start()
        try:
            self.serve()
        finally:
            signal.set_wakeup_fd(-1)
            self.services.close()
            if self.dispatcher:
                self.dispatcher.close()

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping += 1

    # --- one turn of the loop ---------------------------------------------------------------------------------------

    def _greet(self) -> None:
        with self.database.statement() as cursor:
            cursor.execute(f"LISTEN {queueing.CHANNEL}")

    def _tick(self) -> None:
        """Do what is due once a second."""
        self.news = True
        for purged in retention.purge(self.database, self.settings):
            purged.tell()
        with self.database.statement() as cursor:
            unwanted = retention.unwanted(cursor)
        until = time.monotonic() + CANCEL_SECONDS
        for job_id in unwanted:
            with contextlib.suppress(RowHeld):
                control.cancel(self.database, self.settings, job_id, wait=False)
            if time.monotonic() > until:
                break
        for job in leases.rescue(self.database, self.me, self.settings.max_attempts):
            settling.clear_parts(self.database, self.settings, job)
            log.warning(
                "job_rescued", extra={"job": job.id, "attempt": job.attempt, "form": job.form, "rows": job.rows}
            )
        super()._tick()

    # --- work in, work out ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self.services.record(self.database)
        self.news = bool(self.clock.tick(self.database)) or self.news
        if self.news or self.crew.idle():  # not at every word of a child: short jobs say a thousand a second
            self._dispatch()

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
        if self.dispatcher:
            self.dispatcher.wake()
        for slot in self._vacant():
            if self._claim(slot) is None:
                return

    def _next_event(self) -> float:
        slot = time.monotonic() + self.clock.seconds()  # asked anew each turn: somebody may set the clock
        return min(super()._next_event(), self.services.next_event(), slot)

    # --- services ---------------------------------------------------------------------------------------------------

    def _hear_children(self) -> None:
        super()._hear_children()
        self.services.watch()

    def _ask_to_stop(self) -> None:
        super()._ask_to_stop()
        self.services.stop()

    def _stands_still(self) -> bool:
        return super()._stands_still() and not self.services.running()

    # --- notifications ----------------------------------------------------------------------------------------------

    def _listens(self) -> list[Any]:
        connection = self.database.connection
        listening = [] if connection is None or connection.closed else [connection]
        return [*listening, *self.services.channels()]

    def _heard(self) -> bool:
        connection = self.database.connection
        return connection is not None and self._notified(connection)

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


def main() -> NoReturn:
    """Read the settings, prepare the database, serve."""
    try:
        settings = settings_module.load()
        enabled = workloads.load(settings.integrations)
        schedules, services = timetable.defined(enabled), services_module.defined(enabled)
        if settings.psql_pooled:  # it would never hear a notification
            raise SettingsError(
                settings_module.line(
                    settings_module.Settings, "psql_pooled", "очередь соединяется с PostgreSQL сама, мимо PgBouncer"
                )
            )
        if settings.broker_url:
            brokers.make(settings)  # a client that is not installed stops the start, not the thread that needs it
        else:
            dwh.check(settings)  # nor every job
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
