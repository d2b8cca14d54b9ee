"""A program of the queue's in a process of its own: started, read, killed, stopped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

#: Seconds within which it has ended after SIGTERM, and its output after it: whom it leaves behind may hold the pipe.
PATIENCE = 60.0


class Process(Protocol):
    """What is asked of a running process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int: ...
    @property
    def stdout(self) -> IO[str] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Program:
    """A running program, and what it has said.

    Args:
        words: of its command line.
        folder: where it runs; there is no `.env`.
        environment: all of its variables.
        apart: whether signals to the caller's group, such as Ctrl-C, pass it by.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], *, apart: bool = True
    ) -> None:
        self.lines: list[str] = []
        self.process = self._begin(words, folder, environment, apart)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _begin(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], apart: bool) -> Process:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=apart,
        )

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "\n".join(self.lines)

    def kill(self) -> None:
        """SIGKILL it, if it still runs, and wait until it is gone."""
        self.process.kill()
        self._gone()

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM it; return the exit status. AssertionError where it had to be killed after so many seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not stop within {seconds:g} s:\n{self.log}") from None
        self._gone()
        return self.process.returncode

    def _gone(self) -> None:
        self.process.wait()
        self._reader.join(PATIENCE)
        # Closing the pipe would wait for a reader that still reads, for ever.
        if self.process.stdout and not self._reader.is_alive():
            self.process.stdout.close()
