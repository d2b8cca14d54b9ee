"""Programs that begin in milliseconds: forked from a process that has imported what they need, else like any other.

Most tests look at what a program does, not at how Python reads its files, which takes it a second of a core. Each gets
a process of its own all the same, with its own environment, folder, output and signals. That the programs begin
without this as well is seen by the tests that start them as a user does.

The fork server of multiprocessing would not do: a process has one, and that of the tests' own is the queue's.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

#: Where programs are imported from; forms and workloads of the tests' own stand in tests/integrations.
PATH = f"{Path(__file__).parent.parent}:{Path(__file__).parent}"
#: The programs, by their modules.
PROGRAMS = ("queue_manager", "web.__main__")
#: Bytes of a request at most: an environment.
MESSAGE = 1 << 20


class Forked:
    """A running program as `subprocess.Popen` shows one; what it says comes in `stdout`."""

    def __init__(self, status: socket.socket, output: int) -> None:
        self._status = status
        self.pid = _number(status.recv(8))
        self.returncode: int | None = None
        self.stdout = os.fdopen(output, encoding="utf-8")

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended. TimeoutExpired where it has not within so many seconds."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._status.settimeout(timeout)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.returncode = _number(self._status.recv(8))
                self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that programs are forked from; it ends with the one that has made it, or by `close`."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": PATH},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, module: str, folder: Path, environment: Mapping[str, str], *, apart: bool) -> Forked:
        """Run a program in a process of its own; `apart` from this one's group, if wanted."""
        reading, writing = os.pipe()
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps([module, str(folder), dict(environment), apart])
        with theirs:
            socket.send_fds(self._requests, [request.encode()], [writing, theirs.fileno()])
        os.close(writing)
        return Forked(status, reading)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


@cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


def close() -> None:
    """End it, if there is one."""
    if nursery.cache_info().currsize:
        nursery().close()


def _number(message: bytes) -> int:
    assert message, "the process that forks the others is gone"
    return int.from_bytes(message, "little", signed=True)


def _serve(requests: socket.socket) -> str:
    """Fork at each request, and say how it ended; returns in the forked processes alone: which module to run."""
    events = selectors.DefaultSelector()
    events.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is requests:
                data, files, _, _ = socket.recv_fds(requests, MESSAGE, 2)
                if not data:
                    sys.exit(0)
                module, folder, environment, apart = json.loads(data)
                output, status = files[0], socket.socket(fileno=files[1])
                pid = os.fork()
                if not pid:
                    status.close()
                    _leave(events)
                    _become(output, folder, environment, apart)
                    return str(module)
                os.close(output)
                _tell(status, pid)
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
            else:
                pid, status = key.data
                events.unregister(key.fd)
                os.close(key.fd)
                _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                status.close()


def _tell(status: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody may want to know any more
        status.send(number.to_bytes(8, "little", signed=True))


def _leave(events: selectors.BaseSelector) -> None:
    """Close what belongs to the process that this one was forked from."""
    for key in list(events.get_map().values()):
        if key.data is None:
            key.fileobj.close()
        else:
            os.close(key.fd)
            key.data[1].close()
    events.close()


def _become(output: int, folder: str, environment: dict[str, str], apart: bool) -> None:
    """Be what a new process would be."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    if apart:
        os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    # A Ctrl-C is for the process that has made this one, and for those that it has asked for.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in PROGRAMS:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would leave threads behind"
    gc.freeze()
    # Or the children of a forked program would run this file.
    del __file__
    sys.modules[_serve(socket.socket(fileno=int(sys.argv[1])))].main()
