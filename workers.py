"""The parent's side: a crew of warm child processes, their time limits, their deaths.

Children come from a fork server that has imported what a job needs and nothing of the daemon's state: a new
one is there in milliseconds. The fork server ends with the daemon, and every child with the fork server.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal

import child
from jobs import Job
from settings import Settings

#: Seconds before the place of a child that died before its first job is filled again: it may be that none can start.
REHIRE_SECONDS = 1.0

#: Seconds before the next tries to start a child, while what is left of a dead fork server goes away.
RESTART_SECONDS = (0.05, 0.1, 0.2, 0.4)

HERE = str(Path(__file__).resolve().parent)

#: Why a child was ended by its own parent.
Cause = Literal["time limit", "cancelled", "lease lost", "stopping"]


@dataclass
class Slot:
    """A place for one child; the child changes, the place stays."""

    number: int
    process: ForkServerProcess
    channel: Connection
    ran: bool = False  # it has been given a job
    busy: bool = False
    stopping: bool = False
    lost: bool = False  # its last job could not be settled by the child
    started: child.Started | None = None  # what runs, as far as the child has said
    deadline: float = float("inf")  # monotonic seconds
    cause: Cause | None = None


@dataclass(frozen=True)
class Death:
    """A child that ended while it was busy: its job is still the worker's, as far as the database knows."""

    slot: int
    started: child.Started | None
    cause: Cause | None
    exit_code: int | None
    out_of_memory: bool = False

    @property
    def reason(self) -> str:
        """What happened, for the job's record."""
        if self.cause == "time limit" and self.started:
            return f"the time limit of {self.started.time_limit:g} s has passed"
        if self.out_of_memory:
            return "killed by signal 9 (SIGKILL), out of memory"
        if self.cause is not None:
            return self.cause
        if self.exit_code is not None and self.exit_code < 0:
            return f"killed by signal {-self.exit_code} ({signal.Signals(-self.exit_code).name})"
        return f"its process ended with status {self.exit_code}"


class Crew:
    """The children of one worker.

    Args:
        settings: of this installation.
        conninfo: of the job table's PostgreSQL.
        worker: whose lease the jobs are claimed under.
        children: how many there are; none where the jobs are run by workers elsewhere.
    """

    def __init__(self, settings: Settings, conninfo: str, worker: str, children: int) -> None:
        self._settings = settings
        self._conninfo = conninfo
        self._worker = worker
        self._oom_kills = oom_kills()
        self._context = multiprocessing.get_context("forkserver")
        integrations = [f"integrations.{name}" for name in settings.integrations]
        self._context.set_forkserver_preload(["fork_server", "child", "dwh_postgres", "xlsx", *integrations])
        raise_descriptor_limit()
        self._vacant: dict[int, float] = {}  # slots without a child -> when to hire, in monotonic seconds
        self.slots = [self._hire(number) for number in range(children)]

    def _hire(self, number: int) -> Slot:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=child.main,
            args=(theirs, number, self._worker, self._settings, self._conninfo),
            name=f"tksva_q child {number}",
            daemon=True,
        )
        start_process(process)
        theirs.close()
        return Slot(number, process, ours)

    def idle(self) -> list[int]:
        """Return the slots whose child has nothing to do, and is not about to die."""
        return [
            slot.number
            for slot in self.slots
            if not slot.busy and not slot.stopping and slot.cause is None and slot.number not in self._vacant
        ]

    def lost(self) -> set[int]:
        """Return the idle slots whose last job was left unsettled, and forget them."""
        lost = {slot.number for slot in self.slots if slot.lost}
        for number in lost:
            self.slots[number].lost = False
        return lost

    def busy(self) -> set[int]:
        """Return the slots whose jobs their child will settle."""
        return {slot.number for slot in self.slots if slot.busy}

    def channels(self) -> list[Connection]:
        """Return what becomes readable when a child has something to say, or has died."""
        return [slot.channel for slot in self.slots if not slot.channel.closed]

    def give(self, number: int, job: Job) -> None:
        """Let the idle child of a slot run a job; a child that is dead by now shows in `collect`."""
        slot = self.slots[number]
        slot.busy = slot.ran = True
        with contextlib.suppress(OSError):
            slot.channel.send(child.Run(job))

    def collect(self) -> list[Death]:
        """Hear what the children have to say, replace those that ended; return the deaths that left a job behind."""
        for number in [number for number, due in self._vacant.items() if time.monotonic() > due]:
            del self._vacant[number]
            self.slots[number] = self._hire(number)
        return [death for slot in list(self.slots) if (death := self._hear(slot))]

    def _hear(self, slot: Slot) -> Death | None:
        try:
            while not slot.channel.closed and child.readable(slot.channel):
                self._understand(slot, slot.channel.recv())
        except (EOFError, OSError):
            return self._bury(slot)
        return None

    def _understand(self, slot: Slot, message: child.Started | child.Idle) -> None:
        match message:
            case child.Started(_, time_limit) if slot.cause is None:  # else the kill is for the one before
                slot.started = message
                slot.deadline = time.monotonic() + time_limit
            case child.Idle(retiring, lost):
                slot.busy, slot.started, slot.deadline = False, None, float("inf")
                slot.lost = slot.lost or lost
                if retiring and not slot.stopping:
                    self._dismiss(slot)
                    self._replace(slot)

    def _dismiss(self, slot: Slot) -> None:
        with contextlib.suppress(OSError):
            slot.channel.send(child.Stop())
        slot.channel.close()

    def _bury(self, slot: Slot) -> Death | None:
        slot.channel.close()
        slot.process.join(timeout=5)
        death = self._death(slot) if slot.busy else None
        if slot.stopping:
            slot.busy = False
        elif not slot.ran:
            self._vacant[slot.number] = time.monotonic() + REHIRE_SECONDS
        else:
            self._replace(slot)
        return death

    def _replace(self, slot: Slot) -> None:
        self.slots[slot.number] = self._hire(slot.number)
        self.slots[slot.number].lost = slot.lost

    def _death(self, slot: Slot) -> Death:
        before, self._oom_kills = self._oom_kills, oom_kills()
        code = slot.process.exitcode
        # A kernel that does not count its kills leaves every SIGKILL that is not this worker's under suspicion.
        memory = code == -signal.SIGKILL and slot.cause is None and (before is None or before != self._oom_kills)
        return Death(slot.number, slot.started, slot.cause, code, memory)

    def enforce_time_limits(self) -> None:
        """Kill the children whose job has run for too long."""
        now = time.monotonic()
        for slot in self.slots:
            if now > slot.deadline:
                self.kill(slot.number, "time limit")

    def next_deadline(self) -> float:
        """Return when there is something to do without a word from a child, in monotonic seconds."""
        return min((*(slot.deadline for slot in self.slots), *self._vacant.values()), default=float("inf"))

    def kill(self, number: int, cause: Cause) -> None:
        """Kill the child of a slot, at once and whatever it does; `collect` then returns its death."""
        slot = self.slots[number]
        slot.cause = slot.cause or cause
        slot.deadline = float("inf")
        slot.process.kill()

    def kill_busy(self, cause: Cause) -> None:
        """Kill every child that runs a job."""
        for number in self.busy():
            self.kill(number, cause)

    def stop(self) -> None:
        """Ask every child to stop at its next page and to claim nothing more."""
        for slot in self.slots:
            slot.stopping = True
            with contextlib.suppress(OSError):
                slot.channel.send(child.Stop())

    def close(self) -> None:
        """End the children that are left."""
        for slot in self.slots:
            slot.process.kill()
            slot.channel.close()
        for slot in self.slots:
            slot.process.join(timeout=5)


@contextlib.contextmanager
def _for_the_fork_server() -> Iterator[None]:
    """Have a fork server that is started meanwhile be deaf to Ctrl-C, which the daemon alone answers, and find us.

    Python before 3.13 does not hand `sys.path` on: from another folder it would find nothing to preload, say
    nothing, and leave the imports to every new child.
    """
    resource_tracker.ensure_running()  # started along with the other one it would unblock Ctrl-C in between
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, given]))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if given is not None:
            os.environ["PYTHONPATH"] = given
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def start_process(process: ForkServerProcess) -> None:
    """Start a child, by a new fork server where there is none; where one dies over it, another one is tried."""
    for pause in RESTART_SECONDS:
        try:
            with _for_the_fork_server():
                process.start()
        except (EOFError, OSError):
            time.sleep(pause)
        else:
            return
    with _for_the_fork_server():
        process.start()


def raise_descriptor_limit() -> None:
    """Let this process, and those that it starts, open as many files as the system allows: a child takes three."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def oom_kills() -> int | None:
    """Return how many processes of this machine the kernel has killed for memory; None where it does not tell."""
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in counters if line.startswith("oom_kill ")), None)
