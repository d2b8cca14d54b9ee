"""What `status --watch` shows: the queue as it changes, on a terminal or for programs, and through an outage."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from speed import Speeds
from tests import ROOT
from tests.daemons import environment
from tests.database import Queries
from tests.records import job_row, status
from tests.waiting import PATIENCE
from watching import rates


@pytest.fixture
def watch(database: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A watch that tells a program what it sees."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "status", "--watch", "--json"],
        cwd=tmp_path,
        env=environment(database, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_a_watch_follows_the_queue_until_it_is_interrupted(watch: subprocess.Popen[str], sql: Queries) -> None:
    assert watch.stdout
    assert json.loads(watch.stdout.readline())["waiting"] == 0
    sql("INSERT INTO tksva_q.job (form) VALUES ('A')")
    while json.loads(watch.stdout.readline())["waiting"] == 0:
        pass
    watch.send_signal(signal.SIGINT)
    assert (watch.wait(PATIENCE), watch.communicate()[1]) == (0, "")


def test_a_watch_on_a_terminal_shows_bars_and_speed(database: str, tmp_path: Path, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, user_id, file_name, state, worker, rows, total)"
        " SELECT 'A', 7, 'a.csv', 'running', gen_random_uuid(), 250, 1000"
    )
    master, slave = pty.openpty()
    watch = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "status", "--watch"],
        cwd=tmp_path,
        env=environment(database, tmp_path) | {"TERM": "xterm", "COLUMNS": "150", "LINES": "40"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, until = "", time.monotonic() + PATIENCE
    while not re.search(r"9\d%[^\n]*9\d\d из[^\n]*\d\sс", shown):
        assert time.monotonic() < until and select.select([master], [], [], PATIENCE)[0], shown
        shown += os.read(master, 65536).decode(errors="replace")
        if "25%" in shown:
            sql("UPDATE tksva_q.job SET rows = least(999, greatest(900, rows + 1))")
    watch.send_signal(signal.SIGINT)
    while watch.poll() is None:
        try:
            os.read(master, 65536)
        except OSError:
            break
    assert watch.wait(PATIENCE) == 0
    os.close(master)


def test_a_watch_outlives_an_outage_of_the_database(watch: subprocess.Popen[str], sql: Queries) -> None:
    assert watch.stdout
    watch.stdout.readline()
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'tksva_q manage'",
    )
    assert json.loads(watch.stdout.readline())["waiting"] == 0
    assert watch.poll() is None


def test_speeds_are_told_by_job_of_those_that_move_and_of_this_attempt_only() -> None:
    speeds = Speeds()
    other = job_row(id=8, rows=1)
    assert rates(speeds, status(running=(job_row(rows=100), other)), 10) == {}
    assert rates(speeds, status(running=(job_row(rows=400), other)), 12) == {7: 150}
    assert rates(speeds, status(running=(job_row(rows=200, attempt=2),)), 13) == {}
    assert rates(speeds, status(running=(job_row(rows=300, attempt=2),)), 15) == {7: 50}
    assert rates(speeds, status(), 20) == {}
    assert rates(speeds, status(running=(job_row(rows=600, attempt=2),)), 30) == {}
