"""A tiny process between the queue's child and a command: whatever ends either of them, nothing of the command is left.

It is started as `python -I supervisor.py FD COMMAND…` in a session of its own. FD is a pipe that nobody writes to:
its end says that the queue's child is gone, or wants the command to be. As the reaper of every orphan below it, it
also finds children that left the command's process group.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Seconds that a command has between SIGTERM and SIGKILL.
TERM_SECONDS = 2.0
#: As a shell says that there is no such command, and that it cannot be run.
MISSING, NOT_EXECUTABLE = 127, 126
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)


def _prepare() -> None:
    """In the command's process: end with this one, and take signals as usual (the queue's child ignores them)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def main(control: int, command: list[str]) -> int:
    """Run the command until it ends or `control` does; return its exit status, 128 + N for signal N."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_prepare,  # noqa: PLW1509 -- no threads here
        )
    except FileNotFoundError as error:
        print(f"нет команды или рабочей папки: {error.filename}", flush=True)
        return MISSING
    except OSError as error:
        print(f"команда не запускается: {command[0]}: {error.strerror}", flush=True)
        return NOT_EXECUTABLE
    watched = os.pidfd_open(child.pid)
    ready, _, _ = select.select([watched, control], [], [])
    if watched not in ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        select.select([watched], [], [], TERM_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    status = child.wait()
    _kill_the_rest()
    return status if status >= 0 else 128 - status


def _kill_the_rest() -> None:
    """Kill whatever the command has left: orphans come to this process one generation after the other."""
    while True:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
