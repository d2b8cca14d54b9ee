"""A real daemon, as systemd would start it, and what its processes cost."""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import psycopg2
import psycopg2.extensions

from faults.daemon import wait_for
from faults.program import Program
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
#: Seconds between two looks at a row.
LOOK_SECONDS = 0.002
#: Seconds after which nothing more is expected.
PATIENCE = 600.0


class Daemon(Program):
    """A queue manager in a process of its own.

    Args:
        conninfo: of its database.
        folder: where files are prepared.
        program: what it is, of the project's own.
        settings: keys of `.env`, in any case.
    """

    def __init__(self, conninfo: str, folder: Path, program: str = "queue_manager.py", **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = folder / "files"
        # Of a worker behind a broker, and of the daemon beside it, others are the parents.
        self._has_children = "broker_url" not in settings
        words = (sys.executable, str(ROOT / program))
        super().__init__(words, folder, environment(conninfo, folder, settings), apart=False)
        self._connection = psycopg2.connect(conninfo)
        self._connection.autocommit = True

    def __enter__(self) -> "Daemon":
        wait_for(
            lambda: any(" started " in line or " broker_connected" in line for line in self.lines), lambda: self.log, 60
        )
        if self._has_children:
            wait_for(self.child_ids, "children", 30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self.stop(40)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement over the connection that watches the daemon's work."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def post(self, file_name: str, conditions: dict[str, str]) -> int:
        """Insert a row into `post` as the web UI does; return its id."""
        return int(
            self.query(
                "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download,"
                " task_status_timestamp, timestamp) VALUES (1, 'DownloadForRailwayForm', %s, 'в очереди', %s,"
                " localtimestamp, localtimestamp) RETURNING id",
                json.dumps(conditions),
                file_name,
            )[0][0]
        )

    def prepare(self, file_name: str, conditions: dict[str, str]) -> float:
        """Insert a row and wait until its file is prepared; return the seconds from the one to the other."""
        began = time.perf_counter()
        row = self.post(file_name, conditions)
        while (status := self.query("SELECT task_status FROM post WHERE id = %s", row)[0][0]) != "файл подготовлен":
            if status == "ошибка" or time.perf_counter() > began + PATIENCE:
                raise RuntimeError(f"{file_name}: {status}\n" + "\n".join(self.lines[-20:]))
            time.sleep(LOOK_SECONDS)
        return time.perf_counter() - began

    def drained(self) -> bool:
        """Tell whether nothing waits or runs."""
        return self.query("SELECT 1 FROM tksva_q.job WHERE state IN ('waiting', 'running') LIMIT 1") == []

    def file(self, name: str) -> Path:
        """Return where a prepared file lies."""
        return self.files / "1" / name

    def child_ids(self) -> list[int]:
        """Return the ids of the processes that run jobs: children of the fork server."""
        helpers = psutil.Process(self.process.pid).children()
        return [child.pid for helper in helpers for child in helper.children()]


def environment(conninfo: str, folder: Path, settings: dict[str, object]) -> dict[str, str]:
    """Return the environment of a daemon: nothing of the caller's own settings is left in it."""
    parts = psycopg2.extensions.parse_dsn(conninfo)
    keys = {"PSQL_HOST": "host", "PSQL_PORT": "port", "PSQL_DBNAME": "dbname", "PSQL_USER": "user"}
    own = {name.upper() for name in Settings.model_fields}
    inherited = {key: value for key, value in os.environ.items() if key.upper() not in own}
    known = {key: str(parts[name]) for key, name in keys.items()}
    chosen = {key.upper(): str(value) for key, value in settings.items()}
    # The jobs that do nothing stand in benchmarks/own.
    return inherited | {"VAR_DIR": str(folder), "PYTHONPATH": str(ROOT / "benchmarks" / "own")} | known | chosen
