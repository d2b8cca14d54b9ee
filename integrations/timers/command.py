"""Runs a command under its supervisor: streams what it says with bounded memory, and ends it at its limit."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from errors import Interrupted, QueueError, UserError
from integrations.timers.definitions import Timer
from integrations.timers.envfile import environment, read
from integrations.timers.supervisor import MISSING, NOT_EXECUTABLE, TERM_SECONDS
from logs import Secrets, redact

#: Bytes of the newest output that are held while a command runs.
HELD = 64 * 1024
#: Lines and characters of them that stay with the run.
LINES, CHARACTERS = 50, 8000
#: Bytes that one read takes.
_CHUNK = 64 * 1024
#: Seconds between two looks whether the queue stops.
_LOOK_SECONDS = 0.2
#: Bytes in which the rest of a secret may stand, where the held output begins inside a line.
_LONGEST_SECRET = 4096
_SUPERVISOR = Path(__file__).with_name("supervisor.py")


class CommandFailed(QueueError):
    """The command ended badly: may pass, tried again."""


class MissingCommand(UserError):
    """There is no such command: trying again cannot help."""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int | None  # its exit status; None: it was stopped
    rows: int | None  # that its last line reports
    output: str  # its last lines, without secrets
    error: QueueError | None  # why the run is one that failed


def run(timer: Timer, stopping: Callable[[], bool]) -> Result:
    """Run the command of a timer to its end.

    Args:
        timer: what to run, within which limit.
        stopping: tells whether the queue wants to stop.

    Raises:
        UserError: the environment file is wrong.
    """
    values = read(timer.env_file) if timer.env_file else {}
    if not timer.folder.is_dir():
        raise UserError(f"{timer.folder}: нет рабочей папки")
    secrets = Secrets()
    secrets.add(values.values())
    status, tail, why = _supervised(timer, environment(values), stopping)
    output = _last_lines(tail, secrets)
    return Result(status, _rows(tail), output, why or _failure(status, output))


def _supervised(
    timer: Timer, env: dict[str, str], stopping: Callable[[], bool]
) -> tuple[int | None, bytes, QueueError | None]:
    reading, writing = os.pipe()
    words = [sys.executable, "-I", str(_SUPERVISOR), str(reading), *timer.command]
    try:
        process = subprocess.Popen(
            words,
            cwd=timer.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(reading,),
            start_new_session=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    with process:
        try:
            tail, why = _listen(process, time.monotonic() + timer.time_limit, timer.time_limit, stopping)
        finally:
            os.close(writing)  # the supervisor ends the command, where it has not ended itself
            more = _end(process)
    return (process.returncode if why is None else None), (tail + more)[-HELD:], why


def _listen(
    process: subprocess.Popen[bytes], deadline: float, limit: float, stopping: Callable[[], bool]
) -> tuple[bytes, QueueError | None]:
    """Read what the command says until it ends, or must."""
    assert process.stdout is not None  # noqa: S101 -- for the type checker
    out, tail = process.stdout.fileno(), b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return tail, CommandFailed(f"предел времени: {limit:g} с")
        if stopping():
            return tail, Interrupted("очередь останавливается")
        if select.select([out], [], [], min(left, _LOOK_SECONDS))[0]:
            chunk = os.read(out, _CHUNK)
            if not chunk:
                return tail, None
            tail = (tail + chunk)[-HELD:]


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for the supervisor; return the last that the command had to say."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        tail, deadline = b"", time.monotonic() + TERM_SECONDS + 3
        assert process.stdout is not None  # noqa: S101 -- for the type checker
        while time.monotonic() < deadline:
            if select.select([process.stdout], [], [], _LOOK_SECONDS)[0]:
                chunk = os.read(process.stdout.fileno(), _CHUNK)
                if not chunk:
                    break
                tail = (tail + chunk)[-HELD:]
        process.wait(2)
        return tail
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return b""


def _last_lines(tail: bytes, secrets: Secrets) -> str:
    if len(tail) >= HELD:  # it may begin inside a secret, which nobody would know again
        _, newline, rest = tail.partition(b"\n")
        tail = rest if newline and rest else tail[_LONGEST_SECRET:]
    text = redact(secrets.hide(tail.decode(errors="replace").replace("\0", "\\x00")))
    return "\n".join(text.rstrip().splitlines()[-LINES:])[-CHARACTERS:]


def _rows(tail: bytes) -> int | None:
    lines = tail.rstrip().rsplit(b"\n", 1)
    if not re.fullmatch(rb"\s*\{.*\}\s*", lines[-1]):
        return None
    try:
        rows = json.loads(lines[-1])["rows_processed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return rows if isinstance(rows, int) and not isinstance(rows, bool) and 0 <= rows < 2**63 else None


def _failure(status: int | None, output: str) -> QueueError | None:
    last = " | ".join(output.splitlines()[-5:])[-1000:]
    if status == 0:
        return None
    if status in {MISSING, NOT_EXECUTABLE}:
        return MissingCommand(last or "команда не запускается")
    return CommandFailed(f"код выхода {status}: {last}" if last else f"код выхода {status}")
