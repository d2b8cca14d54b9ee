"""A daemon in a process of its own: its settings, what tests submit to it, and what they look at."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg2.extensions

import queueing
from db import Database
from faults.program import Process, Program
from settings import Settings
from tests import ROOT
from tests.database import Queries
from tests.waiting import PATIENCE, wait_for
from tests.warm import PATH, nursery

PREPARED = "файл подготовлен"
FAILED = "ошибка"

Start = Callable[..., "Daemon"]

#: Makes every page of the small warehouse take a while, so that a test can look at a job that runs.
SLOW = """
ALTER TABLE audit._sales__execution_orders RENAME TO fast;
CREATE VIEW audit._sales__execution_orders AS SELECT rownumber,
  "Ст. Отправления" || CASE WHEN rownumber % 30 = 0 AND pg_sleep(0.01) IS NULL THEN '' ELSE '' END AS "Ст. Отправления",
  "Дор. Отправления", "SVOD.Дата отправки", "№ контейнера", "Кол-во, шт.", "Сумма, %", "Примечание",
  "Дата", "Порожний"
FROM audit.fast WHERE "Ст. Отправления" = 'Тайшет';
"""


def environment(conninfo: str, folder: Path, **settings: object) -> dict[str, str]:
    """The environment of a daemon: this database, a folder of its own, and what the test sets."""
    parts = psycopg2.extensions.parse_dsn(conninfo)
    keys = {
        "PSQL_HOST": "host",
        "PSQL_PORT": "port",
        "PSQL_DBNAME": "dbname",
        "PSQL_USER": "user",
        "PSQL_PWD": "password",
    }
    known = {key: str(parts[name]) for key, name in keys.items() if parts.get(name)}
    chosen = {key.upper(): str(value) for key, value in settings.items()}
    inherited = {key: value for key, value in os.environ.items() if key.upper() not in _own_keys()}
    return inherited | {"VAR_DIR": str(folder), "PYTHONPATH": PATH} | known | chosen


def _own_keys() -> set[str]:
    return {name.upper() for name in Settings.model_fields}


def make_settings(conninfo: str, folder: Path, **settings: object) -> Settings:
    """Settings for this database and folder, as `settings.load` would make them from an environment."""
    own = {
        key.lower(): value
        for key, value in environment(conninfo, folder, **settings).items()
        if key.upper() in _own_keys()
    }
    return Settings(**own)  # type: ignore[arg-type]


class Warm(Program):
    """A program that is forked from one that has imported it, where nothing else is to be imported."""

    #: The program's module; none where it is always started as a user does it.
    module: str | None

    def _begin(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], apart: bool) -> Process:
        if self.module and environment["PYTHONPATH"] == PATH:
            return nursery().fork(self.module, folder, environment, apart=apart)
        return super()._begin(words, folder, environment, apart)


class Daemon(Warm):
    """A real queue manager in a process of its own."""

    module = "queue_manager"
    program: tuple[str, ...] = (sys.executable, str(ROOT / "queue_manager.py"))

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        self.files = folder / "files"
        super().__init__(self.program, folder, environment(conninfo, folder, **settings))

    def await_line(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Wait for a line of the log that matches."""

        def found() -> str | None:
            ended = not self._reader.is_alive()
            line = next((line for line in self.lines if re.search(pattern, line)), None)
            assert line or not ended, complaint()
            return line

        def complaint() -> str:
            return f"no line {pattern!r} in:\n{self.log}"

        return str(wait_for(found, seconds, complaint))

    def file(self, name: str, user: int = 1) -> Path:
        return self.files / str(user) / name

    def wait(self) -> int:
        """Wait until the daemon ends by itself; return its exit status."""
        self.process.wait(PATIENCE)
        self._gone()
        return self.process.returncode

    def _gone(self) -> None:
        super()._gone()
        assert not self._reader.is_alive(), f"somebody outlives the daemon {self.pid}"


@contextmanager
def daemons(conninfo: str, folder: Path) -> Iterator[Start]:
    """What starts daemons on one database and folder, and waits until they run; all of them have ended at the end."""
    with ExitStack() as stack:

        def start(**settings: object) -> Daemon:
            daemon = Daemon(conninfo, folder, **settings)
            stack.callback(daemon.kill)
            daemon.await_line(" started ")
            return daemon

        yield start


def submit(database: str, form: str, **columns: object) -> int:
    own = Database(database, "test")
    with own.transaction() as cursor:
        job = queueing.submit(cursor, form, {}, **columns)  # type: ignore[arg-type]
    own.close()
    return job


def job_state(sql: Queries, job: int) -> tuple[str, str | None]:
    return sql("SELECT state, error FROM tksva_q.job WHERE id = %s", job)[0]


def children_of(daemon: Daemon) -> list[psutil.Process]:
    """The processes that run jobs: the fork server's own children."""
    return [
        process
        for process in psutil.Process(daemon.pid).children(recursive=True)
        if process.ppid() != daemon.pid and "resource_tracker" not in " ".join(process.cmdline())
    ]
