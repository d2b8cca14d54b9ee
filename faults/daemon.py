"""Real queue managers in processes of their own: started, killed, stopped in the middle, watched."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from faults.program import Program
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
#: Seconds within which whatever the suite waits for has come, or never will.
PATIENCE = 120.0

T = TypeVar("T")

#: When and whom: another suite each time, for what one run misses the next may hit.
luck = random.SystemRandom()


def wait_for(probe: Callable[[], T | None], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """Ask `probe` until it gives something true, and return that; AssertionError names `what` did not come."""
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.005)
    return found


#: What a daemon is, and what a worker behind a broker.
QUEUE_MANAGER = (sys.executable, str(ROOT / "queue_manager.py"))
BROKER_WORKER = (sys.executable, str(ROOT / "broker_worker.py"))


class Daemon(Program):
    """A queue manager, or another program of the queue's; `settings` are keys of `.env` in lower case."""

    def __init__(self, folder: Path, settings: dict[str, object], program: tuple[str, ...] = QUEUE_MANAGER) -> None:
        own = {name.upper() for name in Settings.model_fields}
        inherited = {key: value for key, value in os.environ.items() if key.upper() not in own}
        self.folder = folder
        self.settings = settings
        self.began = time.time()
        chosen = {key.upper(): str(value) for key, value in settings.items()}
        super().__init__(program, folder, inherited | {"PYTHONPATH": str(ROOT)} | chosen)

    @property
    def started(self) -> bool:
        """Whether it has prepared the database and serves, or listens to the broker."""
        return self.said(r" (started|broker_connected)( |$)") is not None

    def said(self, pattern: str, lines: int = 1) -> str | None:
        """Return the first line of the log that matches, and what follows up to so many lines."""
        log = list(self.lines)
        found = next((number for number, line in enumerate(log) if re.search(pattern, line)), None)
        return None if found is None else "\n".join(log[found : found + lines])

    def await_line(self, pattern: str, seconds: float = PATIENCE) -> str:
        return wait_for(lambda: self.said(pattern), lambda: "\n".join([pattern, *self.lines]), seconds)

    def family(self) -> list[psutil.Process]:
        """Return all processes it has made, itself left out."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def children(self) -> list[psutil.Process]:
        """Return the processes that run jobs: the fork server's own children."""
        return [process for process in self.family() if _parent(process) not in {self.pid, None}]

    def fork_server(self) -> list[psutil.Process]:
        """Return the process that the children come from: none while it is being started."""
        return [process for process in self.family() if _has_children(process)]

    def freeze(self) -> None:
        """SIGSTOP the daemon and all it has made."""
        for process in [psutil.Process(self.pid), *self.family()]:
            process.suspend()

    def thaw(self) -> None:
        """SIGCONT them again, the daemon last: its children come first to do harm."""
        for process in [*self.family(), psutil.Process(self.pid)]:
            process.resume()

    def stop(self, seconds: float = 35) -> int:
        """SIGTERM, and SIGKILL where that is not enough; return the exit status."""
        with contextlib.suppress(AssertionError):
            super().stop(seconds)
        return self.process.returncode


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid() if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _has_children(process: psutil.Process) -> bool:
    try:
        return bool(process.children())
    except psutil.NoSuchProcess:
        return False
