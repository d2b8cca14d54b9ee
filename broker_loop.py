"""The worker behind a broker: it looks for a job when a message says so, and never polls for one.

A message calls for a worker that has nothing to do; which job that takes is decided by the database, so that
priorities keep their order whatever the broker does, and a message that comes twice finds nothing to do twice. A
child that ends a job goes on with the next one by itself; the messages of those find nothing left, which is cheap.
"""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

import dispatch
from settings import Settings
from worker_loop import WorkerLoop

#: Seconds between two looks whether somebody has cancelled a job that runs here.
WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Call:
    """A message of the broker."""

    job_id: int
    answered: Callable[[], None]  # it may be acknowledged: the job is claimed, or is not for this worker


class BrokerLoop(WorkerLoop):
    """The loop of such a worker, in a thread that has made it: its children end with that thread.

    Args:
        settings: of this installation; WORKERS is the number of children.
        conninfo: of the job table's PostgreSQL.
        vacancy: is told whether a child has nothing to do, each time that this changes.
    """

    def __init__(self, settings: Settings, conninfo: str, vacancy: Callable[[bool], None]) -> None:
        super().__init__(settings, conninfo, "tksva_q worker", settings.workers, manages=False)
        self._vacancy = vacancy
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._heeded: list[Call] = []  # still to be answered
        self._looking = True  # whether something may wait for which no message comes
        self._free = 0  # children that had nothing to do at the end of the last turn
        self._told = False

    # --- from other threads -------------------------------------------------------------------------------------------

    def call(self, call: Call) -> None:
        """Take a job, if there is one."""
        self._calls.put(call)
        self.wake()

    def look(self) -> None:
        """Look for jobs as long as there are any: messages may have been lost."""
        self._looking = True
        self.wake()

    def stop(self) -> None:
        """Drain, and end."""
        self.stopping += 1
        self.wake()

    # --- in the loop's own --------------------------------------------------------------------------------------------

    def _period(self) -> float:
        # An idle worker looks as well, but seldom: its claim may have succeeded and the answer been lost.
        return WATCH_SECONDS if self.crew.busy() else self.settings.heartbeat_seconds

    def _work(self) -> None:
        vacant = self._vacant()
        # Whoever was at work has missed messages: nobody listens while no child is free.
        if len(vacant) > self._free or self._looking:
            self._looking = False
            while vacant and self._take(vacant[0]):
                vacant.pop(0)
        while not self._calls.empty():
            call = self._calls.get()
            self._heeded.append(call)
            with self.database.statement() as cursor:
                dispatch.taken(cursor, call.job_id)
            if vacant and self._take(vacant[0]):
                vacant.pop(0)
        self._free = len(vacant)
        self._answer(vacant=bool(vacant))

    def _take(self, slot: int) -> bool:
        """Claim a job for an idle child; False where there is none."""
        if self._claim(slot) is None:
            return False
        self.tick_at = min(self.tick_at, time.monotonic() + WATCH_SECONDS)
        return True

    def _answer(self, *, vacant: bool) -> None:
        """Say first whether there is room for more: the answer to a message lets the next one come."""
        if vacant != self._told:
            self._told = vacant
            self._vacancy(vacant)
        for call in self._heeded:
            call.answered()
        self._heeded.clear()

    def _away(self, error: Exception) -> None:
        """Without the database no message can be understood: it is dropped, and its job found by looking."""
        self._looking = True
        while not self._calls.empty():
            self._heeded.append(self._calls.get())
        self._answer(vacant=False)
        super()._away(error)
