"""The process between the queue's child and a command: how it ends, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integrations.timers import supervisor
from tests.timers.processes import left
from tests.waiting import wait_for

HANGS = """
import os, signal, time
{first}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
open("up", "w").close()
time.sleep(600)
"""


@contextmanager
def supervised(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a command under its supervisor; give the process and the end of the pipe that keeps it alive."""
    reading, writing = os.pipe()
    words = [sys.executable, "-I", supervisor.__file__, str(reading), *command]
    process = subprocess.Popen(
        words, cwd=folder, pass_fds=(reading,), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.close(reading)
    try:
        yield process, writing
    finally:
        os.close(writing)
        process.wait(30)
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize(
    ("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)]
)
def test_its_status_is_the_commands(tmp_path: Path, code: str, status: int) -> None:
    with supervised(tmp_path, sys.executable, "-S", "-c", code) as (process, _):
        assert process.wait(30) == status


def test_a_command_that_is_not_there_or_cannot_be_run_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    for name, status in (("/нет/такой", supervisor.MISSING), (str(plain), supervisor.NOT_EXECUTABLE)):
        with supervised(tmp_path, name) as (process, _):
            out, _ = process.communicate(timeout=30)
        assert (process.returncode, name in out) == (status, True)


@pytest.mark.parametrize("first", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_the_end_of_the_pipe_ends_the_command_and_all_it_has_started(tmp_path: Path, first: str) -> None:
    with supervised(tmp_path, sys.executable, "-c", HANGS.format(first=first)) as (process, _):
        wait_for((tmp_path / "up").exists)
    assert process.returncode > 128
    assert left(tmp_path) == []


def test_a_killed_supervisor_takes_its_command_along(tmp_path: Path) -> None:
    code = "import time; open('up', 'w').close(); time.sleep(600)"
    with supervised(tmp_path, sys.executable, "-S", "-c", code) as (process, _):
        wait_for((tmp_path / "up").exists)
        process.kill()
        wait_for(lambda: left(tmp_path) == [], 60)


def test_a_command_takes_signals_as_usual_and_has_no_input(tmp_path: Path) -> None:
    code = "import signal, sys; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, repr(sys.stdin.read()))"
    with supervised(tmp_path, sys.executable, "-S", "-c", code) as (process, _):
        out, _ = process.communicate(timeout=30)
    assert out.strip() == "True ''"
