"""The daemon's side of services: started beside the loop, started again when they die, stopped with it.

Nothing here waits: the loop looks when a channel has something to say, or when something is due. A service's process
comes from the fork server, as the children that run jobs do, and ends with the daemon for the same reason.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import child
import services
from child import readable
from db import Database
from logs import log
from settings import Settings
from workers import start_process

#: Seconds before a service that died is started again: the first pause, and the longest.
PAUSE_SECONDS = (0.5, 10.0)
#: Seconds after its first sign of life for which a service must live, or the next pause is longer.
PROVEN_SECONDS = 2.0


@dataclass
class _Place:
    """A place for one service; its process changes, the place stays."""

    name: str
    silent_seconds: float
    process: ForkServerProcess | None = None
    channel: Connection | None = None
    alive: float = float("inf")  # since its first sign of life, in monotonic seconds
    heard: float = 0.0  # the last one
    deaths: int = 0  # since it last proved itself
    due: float = 0.0  # when to start it; infinite while it lives
    reason: str | None = None  # as it said itself, or why it was ended


@dataclass
class Supervisor:
    """The services of one daemon.

    Args:
        settings: of this installation.
        conninfo: of the job table's PostgreSQL.
        worker: the daemon's identity.
        services: by name.
    """

    settings: Settings
    conninfo: str
    worker: str
    services: Mapping[str, services.Service]
    stopping: bool = False
    _deaths: list[tuple[str, str]] = field(default_factory=list)  # name and reason, not yet in the database

    def __post_init__(self) -> None:
        """Make a place for each service; `watch` starts them."""
        self._context = multiprocessing.get_context("forkserver")
        self._places = [_Place(name, one.silent_seconds) for name, one in self.services.items()]

    def watch(self) -> None:
        """Hear what the services have to say, bury the dead, end the silent, start those that are due."""
        now = time.monotonic()
        for place in self._places:
            if place.channel is not None:
                self._hear(place, now)
            if place.process is not None and now > place.heard + place.silent_seconds:
                place.reason = place.reason or f"no sign of life for {place.silent_seconds:g} s"
                place.process.kill()
            if place.process is None and not self.stopping and now >= place.due:
                self._start(place, now)

    def _start(self, place: _Place, now: float) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=services.main,
            args=(theirs, place.name, self.worker, self.settings, self.conninfo),
            name=f"tksva_q {place.name}",
            daemon=True,
        )
        start_process(process)
        theirs.close()
        place.process, place.channel, place.reason = process, ours, None
        place.heard = now
        place.alive = place.due = float("inf")
        log.info("service_started", extra={"service": place.name, "pid": process.pid})

    def _hear(self, place: _Place, now: float) -> None:
        assert place.channel is not None  # noqa: S101 -- the caller has looked
        try:
            while readable(place.channel):
                message = place.channel.recv()
                place.heard = now
                place.alive = min(place.alive, now)
                if isinstance(message, services.Failed):
                    place.reason = message.reason
        except (EOFError, OSError):
            self._bury(place, now)

    def _bury(self, place: _Place, now: float) -> None:
        assert place.process is not None  # noqa: S101 -- a channel has a process
        assert place.channel is not None  # noqa: S101 -- as above
        place.channel.close()
        place.process.join(timeout=1)
        if place.process.exitcode is None:  # it has closed its channel and lives on: nobody would hear of it again
            place.process.kill()
        reason = place.reason or _reason(place.process.exitcode)
        place.process = place.channel = None
        if self.stopping:
            return
        place.deaths = 1 if now - place.alive > PROVEN_SECONDS else place.deaths + 1
        first, longest = PAUSE_SECONDS
        pause = min(longest, first * 2 ** min(place.deaths - 1, 10))  # a float holds no 2**1024
        place.due = now + pause
        self._deaths.append((place.name, reason))
        log.error("service_died", extra={"service": place.name, "reason": reason, "pause": pause})

    def record(self, database: Database) -> None:
        """Write the deaths down; no statement where there was none.

        Raises:
            DatabaseAway: they are written the next time.
        """
        while self._deaths:
            name, reason = self._deaths[0]
            with database.statement() as cursor:
                services.record_death(cursor, name, self.worker, reason)
            del self._deaths[0]

    def channels(self) -> list[Connection]:
        """Return what becomes readable when a service has something to say, or has died."""
        return [place.channel for place in self._places if place.channel is not None]

    def next_event(self) -> float:
        """Return when there is something to do without a word from a service, in monotonic seconds."""
        silent = [place.heard + place.silent_seconds for place in self._places if place.process is not None]
        starts = [place.due for place in self._places if place.process is None and not self.stopping]
        return min((*silent, *starts), default=float("inf"))

    def running(self) -> bool:
        """Tell whether a service has not ended yet."""
        return any(place.process is not None for place in self._places)

    def stop(self) -> None:
        """Ask every service to stop; `watch` hears of their end."""
        self.stopping = True
        for place in self._places:
            if place.channel is not None:
                with contextlib.suppress(OSError):
                    place.channel.send(child.Stop())

    def close(self) -> None:
        """End the services that are left."""
        self.stopping = True
        left = [place.process for place in self._places if place.process is not None]
        for process in left:
            process.kill()
        for process in left:
            process.join(timeout=5)


def _reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"its process ended with status {exit_code}"
