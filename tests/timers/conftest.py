"""What the tests of the timers share: the tables, a file of definitions, a command, the command line, a mail server."""

from __future__ import annotations

import datetime
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import manage as manage_module
import schema
from db import Database
from integrations.timers import journal
from jobs import Fence
from tests.daemons import environment
from tests.mailbox import Mailbox, mail_server
from tests.web.conftest import page, start_web  # noqa: F401 -- fixtures of the web process

Define = Callable[[str], Path]

START = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
QUARTER = datetime.timedelta(minutes=15)
TIMER = """
[timers.qtickets]
job = "qtickets_loader"
command = ["qtickets"]
cron = "*/15 * * * *"
time_limit = 300
"""

#: The statements that users know: the last runs, and what they come to.
LAST_RUNS = (
    "SELECT job, started_at, finished_at, rows_processed, status, message FROM zakaz.meta_job_runs"
    " ORDER BY started_at DESC LIMIT 20"
)
STATISTICS = (
    "SELECT job, status, count(*) AS runs, avg(rows_processed) AS average FROM zakaz.meta_job_runs"
    " GROUP BY job, status ORDER BY job, status"
)

_jobs = itertools.count(1)


@pytest.fixture
def tables(database: str) -> str:
    """Connection string of a database with the tables of the timers."""
    schema.migrate(database, workloads=["timers"])
    return database


@pytest.fixture
def queue(tables: str) -> Iterator[Database]:
    connection = Database(tables, "tests")
    yield connection
    connection.close()


def fence(attempt: int = 1) -> Fence:
    """Of a job that nobody has had yet."""
    return Fence(next(_jobs), attempt, "00000000-0000-0000-0000-000000000000")


def ended(queue: Database, status: str, message: str = "", timer: str = "qtickets", rows: int | None = None) -> Fence:
    """Journal a run that has ended."""
    made = fence()
    with queue.transaction() as cursor:
        journal.begin(cursor, made, timer, f"{timer}_loader")
    with queue.transaction() as cursor:
        journal.end(cursor, made, status, rows=rows, message=message)  # type: ignore[arg-type]
    return made


# --- definitions and commands -----------------------------------------------------------------------------------------


@pytest.fixture
def define(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Define:
    """Write `schedules.toml` and have the timers read it."""

    def write(text: str) -> Path:
        path = tmp_path / "schedules.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("SCHEDULES_FILE", str(path))
        return path

    return write


@pytest.fixture
def script(tmp_path: Path, define: Define) -> Callable[..., Path]:
    """Define the timer `one`, whose command is a script; it never begins by itself."""

    def write(code: str, limit: float = 60, retries: int = 0, pause: float = 30) -> Path:
        file = tmp_path / "loader.py"
        file.write_text(code, encoding="utf-8")
        return define(
            f'retries = {retries}\nretry_seconds = {pause}\n[timers.one]\njob = "loader"\n'
            f'command = ["{sys.executable}", "{file}"]\ncron = "0 0 1 1 *"\ntime_limit = {limit}\n'
        )

    return write


@dataclass(frozen=True)
class Said:
    """How a command of the command line ended."""

    code: int
    out: str
    err: str


class Manage:
    """`manage.py timers …` in this process, as root or as somebody else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: str, user: int = 0) -> Said:
        self._capsys.readouterr()
        with self._monkeypatch.context() as somebody, pytest.raises(SystemExit) as ended:
            somebody.setattr(os, "geteuid", lambda: user)
            manage_module.main(["timers", *words])
        return Said(int(ended.value.code or 0), *self._capsys.readouterr())


@pytest.fixture
def manage(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Manage:
    """The command line, on the test's database and in its folder."""
    for key, value in environment(database, tmp_path, integrations="timers").items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    return Manage(monkeypatch, capsys)


# --- a mail server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    with mail_server(box) as port:
        own = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "SMTP_USE_TLS": "off", "ALERT_EMAIL_TO": "duty@example.org"}
        for key, value in own.items():
            monkeypatch.setenv(key, str(value))
        yield box
