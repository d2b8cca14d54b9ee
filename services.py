"""Services: long-running work that a workload brings, one process of each beside every daemon's loop.

    def consume(runtime: Runtime) -> None:
        while not runtime.stopping():
            ...
            runtime.alive()

    SERVICES = (Service("parsers_consumer", consume),)

What runs is here; who starts it, and starts it again, is `supervisor.py`. A service that ends without having been asked
to has died, and so has one that gives no sign of life for its `silent_seconds`.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psycopg2

import logs
import workloads
from child import Orphaned, Stop, end_with_daemon, readable
from db import Cursor, Database, DatabaseAway, one_line, unforeseen
from errors import QueueError
from logs import log, redact
from settings import Settings
from workloads import Check, Workload

#: Seconds between two signs of life that are passed on.
SIGN_SECONDS = 2.0
#: Seconds of silence after which a service is ended and started again, where it does not say so itself.
SILENT_SECONDS = 60.0
#: Seconds without a sign of life in the database after which it counts as dead.
DEAD_SECONDS = 12.0
#: Seconds for which a restart is shown.
RECENT_SECONDS = 60.0
#: Seconds that writing a sign of life may take.
WRITE_SECONDS = 3.0

_SIGN = """
INSERT INTO tksva_q.service_instance (name, worker, process, since, seen_at, trouble)
SELECT %(name)s, id, %(process)s, clock_timestamp(), clock_timestamp(), %(trouble)s
FROM tksva_q.worker WHERE id = %(worker)s
ON CONFLICT (name, worker) DO UPDATE SET seen_at = excluded.seen_at, trouble = excluded.trouble,
    since = CASE WHEN service_instance.process = excluded.process THEN service_instance.since ELSE excluded.since END,
    process = excluded.process
"""
_DEATH = """
WITH dead AS (
    INSERT INTO tksva_q.service_instance (name, worker, seen_at)
    SELECT %(name)s, id, clock_timestamp() FROM tksva_q.worker WHERE id = %(worker)s
    ON CONFLICT (name, worker) DO UPDATE SET process = NULL, since = NULL
)
INSERT INTO tksva_q.service (name, restarts, died_at, reason) VALUES (%(name)s, 1, clock_timestamp(), %(reason)s)
ON CONFLICT (name) DO UPDATE SET restarts = service.restarts + 1, died_at = excluded.died_at, reason = excluded.reason
"""
_STATES = """
SELECT wanted.name, count(i.worker), count(i.worker) FILTER (WHERE i.process IS NOT NULL
           AND i.seen_at > clock_timestamp() - make_interval(secs => %s)),
       extract(epoch FROM clock_timestamp() - min(i.since))::float8,
       extract(epoch FROM clock_timestamp() - max(i.seen_at))::float8, max(i.trouble),
       coalesce(s.restarts, 0), extract(epoch FROM clock_timestamp() - s.died_at)::float8, s.reason
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place)
LEFT JOIN tksva_q.service_instance i USING (name) LEFT JOIN tksva_q.service s USING (name)
GROUP BY wanted.place, wanted.name, s.name ORDER BY wanted.place
"""


@dataclass(frozen=True)
class Service:
    """Work that goes on for as long as the daemon lives."""

    name: str  # unique among all services of an installation; the label of its metrics
    run: Callable[["Runtime"], None]  # returns when it was asked to stop, and only then
    silent_seconds: float = SILENT_SECONDS  # without a sign of life after which it counts as hanging


@dataclass(frozen=True)
class Alive:
    """To the daemon: the service lives."""


@dataclass(frozen=True)
class Failed:
    """To the daemon: the service ends, for this reason."""

    reason: str


@dataclass(frozen=True)
class State:
    """How a service does, of all daemons together."""

    name: str
    instances: int  # daemons that run it, or are to
    alive: int  # of them
    lives: float | None  # seconds since the first of them began
    seen: float | None  # seconds since the last sign of life of any
    trouble: str | None
    restarts: int
    died: float | None  # seconds since the last death; None: it never died
    reason: str | None  # of that death

    @property
    def up(self) -> bool:
        """Whether it lives beside every daemon, and there is one."""
        return 0 < self.instances == self.alive


class Runtime:
    """What a running service is given: the settings, the database, and the ways to be heard and to be stopped."""

    def __init__(self, channel: Connection, name: str, worker: str, settings: Settings, conninfo: str) -> None:
        self.name = name
        self.worker = worker
        self.settings = settings
        self.database = Database(conninfo, f"tksva_q {name}")
        # Of its own: a sign of life must not fall into the middle of the service's transaction.
        self._signs = Database(conninfo, f"tksva_q {name} sign")
        self._channel = channel
        self._stopped = False
        self._signed = float("-inf")
        self._trouble: str | None = None

    def stopping(self) -> bool:
        """Tell whether the service was asked to stop: it has a few seconds to return."""
        if not self._stopped and readable(self._channel):
            try:
                self._stopped = isinstance(self._channel.recv(), Stop)
            except (EOFError, OSError):
                raise Orphaned from None
        return self._stopped

    def alive(self, trouble: str | None = None) -> None:
        """Say that the service lives, and what keeps it from its work; to be called every few seconds, or more often.

        May wait WRITE_SECONDS for the database; a database that is away is no fault of the service.
        """
        now = time.monotonic()
        if now < self._signed + SIGN_SECONDS and trouble == self._trouble:
            return
        self._signed, self._trouble = now, trouble
        self._tell(Alive())
        said = {"name": self.name, "worker": self.worker, "process": os.getpid()}
        with contextlib.suppress(DatabaseAway, psycopg2.Error), self._signs.statement(WRITE_SECONDS) as cursor:
            cursor.execute(_SIGN, said | {"trouble": trouble and redact(trouble)})

    def failed(self, reason: str) -> None:
        """Say why the service ends."""
        self._tell(Failed(reason))

    def _tell(self, message: Alive | Failed) -> None:
        try:
            self._channel.send(message)
        except OSError:
            raise Orphaned from None


def defined(enabled: Iterable[Workload]) -> dict[str, Service]:
    """Return the services that workloads bring along, by name; a name is given once."""
    found: dict[str, Service] = {}
    for workload in enabled:
        for service in workload.part("SERVICES"):
            if service.name in found:
                raise ValueError(f"two services are called {service.name}")
            found[service.name] = service
    return found


def main(channel: Connection, name: str, worker: str, settings: Settings, conninfo: str) -> None:
    """Run one service in this process until it is asked to stop, or the daemon is gone."""
    end_with_daemon()
    logs.setup(settings)
    runtime = Runtime(channel, name, worker, settings, conninfo)
    try:
        defined(workloads.load(settings.integrations))[name].run(runtime)
    except Orphaned:
        return
    except Exception as error:  # whatever it is, the daemon starts the service again and shows why
        known = isinstance(error, QueueError)
        if not known:
            log.exception("service_error", extra={"service": name})
        with contextlib.suppress(Orphaned):
            runtime.failed(redact(one_line(error) if known else unforeseen(error)))
        sys.exit(1)


def record_death(cursor: Cursor, name: str, worker: str, reason: str) -> None:
    """Note that a service died beside a daemon and is to be started again."""
    cursor.execute(_DEATH, {"name": name, "worker": worker, "reason": reason})


def states(cursor: Cursor, names: Iterable[str]) -> list[State]:
    """Return how these services do."""
    wanted = list(names)
    if not wanted:
        return []
    cursor.execute(_STATES, (DEAD_SECONDS, wanted))
    return [State(*row) for row in cursor.fetchall()]


def check(state: State) -> Check:
    """Judge a service, in words."""
    died = f"перезапусков {state.restarts}, последний {state.died:.0f} с назад: {state.reason}" if state.died else ""
    if not state.instances:
        return Check("error", "не запущена")
    if not state.up:
        return Check("error", f"не работает; {died}" if died else f"молчит {state.seen or 0:.0f} с")
    if state.trouble:
        return Check("warning", state.trouble)
    if state.died is not None and state.died < RECENT_SECONDS:
        return Check("warning", died)
    return Check("ok", f"работает {state.lives or 0:.0f} с" + (f"; {died}" if died else ""))
