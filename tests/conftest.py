"""What tests share: a real PostgreSQL, a fresh database for each test, a small warehouse, a real daemon."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from playwright.sync_api import Browser, sync_playwright

import processings
import schema
from db import Database
from embedded import embedded_dsn
from processings import Processing
from settings import Settings
from tests.waiting import PATIENCE, wait_for

ROOT = Path(__file__).resolve().parent.parent
TABLE = "audit._sales__execution_orders"
#: Rows of the small warehouse; "Тайшет" has a third of them.
WAREHOUSE_ROWS = 3000

#: Debian's; the tests download no browser.
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--lang=ru-RU"]

_numbers = itertools.count(1)
#: The folder that `pytest_configure` has made for the session.
_FOLDER = pytest.StashKey[Path]()

# A shell that runs the tests in the background has them ignore Ctrl-C, and so does everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

WAREHOUSE = f"""
CREATE SCHEMA audit;
CREATE TABLE audit._sales__execution_orders AS
SELECT g::bigint AS rownumber,
       (ARRAY['Тайшет', 'Лена', 'Чита "1"'])[g % 3 + 1] AS "Ст. Отправления",
       (ARRAY['В-СИБ', 'ЗАБ'])[g % 2 + 1] AS "Дор. Отправления",
       timestamp '2024-01-01' + (g % 60) * interval '1 day' + (g % 24) * interval '1 hour' AS "SVOD.Дата отправки",
       'КОНТ' || lpad((g * 7919 % 10000000)::text, 7, '0') AS "№ контейнера",
       (g % 1000)::int AS "Кол-во, шт.",
       ((g * 37) % 100000 / 100.0)::numeric(12, 2) AS "Сумма, %",
       CASE WHEN g % 7 = 0 THEN NULL ELSE 'текст; "в кавычках" ' || g END AS "Примечание",
       (date '2024-01-01' + (g % 60)::int) AS "Дата",
       g % 2 = 0 AS "Порожний"
FROM generate_series(1, {WAREHOUSE_ROWS}) g;
ALTER TABLE audit._sales__execution_orders ADD PRIMARY KEY (rownumber);
ANALYZE audit._sales__execution_orders;
INSERT INTO "user" (id, username, email) VALUES (1, 'user1', 'user1@example.org'), (2, 'user2', 'user2@example.org');
INSERT INTO dwh_tables_info VALUES ('{TABLE}',
    '{{"rows_qty": {WAREHOUSE_ROWS}, "min_date": "2024-01-01", "max_date": "2024-02-29",
       "railway_names": "В-СИБ|ЗАБ", "station_names": "Тайшет|Лена|Чита \\"1\\""}}',
    localtimestamp, false, localtimestamp, false, localtimestamp);
"""


#: Files that take a minute or more: begun last, one of them would keep everybody waiting.
LONG = frozenset(
    f"test_{name}.py"
    for name in (
        "benchmarks",
        "browser",
        "faults",
        "faults_load",
        "listening",
        "looks",
        "queue_manager",
        "systemd_boot",
    )
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the session a folder of its own; the workers' lie below that of the process that leads them.

    The one that pytest has for all of a user's sessions is closed again by each new one, also to the embedded servers,
    which root runs as somebody else.
    """
    if config.option.basetemp is None:
        folder = tempfile.mkdtemp(prefix="tksva_q-tests-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        config.stash[_FOLDER] = Path(folder)
        config.option.basetemp = folder


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Take the session's folder away, unless somebody will want to look into it."""
    folder = session.config.stash.get(_FOLDER, None)
    if folder and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; what is random about the order stays so."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(autouse=True)
def _no_loop_of_events(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hide the loop that Playwright leaves marked as running, so that a test beside a browser's may have its own."""
    if "browser" in request.fixturenames:
        yield
        return
    left = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(left)


@pytest.fixture(scope="session")
def postgres() -> str:
    """A server of this session's own, ended with it; the connection string of its database `postgres`."""
    # Not below the session's folder, which is gone before the server ends.
    folder = Path(tempfile.mkdtemp(prefix="tksva_q-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # runs after the server's own end, registered later
    conninfo = psycopg2.extensions.make_dsn(embedded_dsn(folder))
    with server_cursor(conninfo) as cursor:
        # No test takes the power away, and what a killed process has written the kernel keeps.
        for setting in ("fsync", "full_page_writes"):
            cursor.execute(f"ALTER SYSTEM SET {setting} = off")
        cursor.execute("SELECT pg_reload_conf()")
    return conninfo


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """Name of a database with the queue's schema and the small warehouse, to be copied."""
    with server_cursor(postgres) as cursor:
        cursor.execute("CREATE DATABASE tksva_template")
    conninfo = psycopg2.extensions.make_dsn(postgres, dbname="tksva_template")
    schema.migrate(conninfo)
    with server_cursor(conninfo) as cursor:
        cursor.execute(WAREHOUSE)
    return "tksva_template"


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """Connection string of a database with nothing in it."""
    yield from _fresh(postgres, "template0")


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[str]:
    """Connection string of a fresh database with the queue's schema and the small warehouse."""
    yield from _fresh(postgres, template)


def _fresh(postgres: str, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with server_cursor(postgres) as cursor:
        cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    yield psycopg2.extensions.make_dsn(postgres, dbname=name)
    with server_cursor(postgres) as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def server_cursor(conninfo: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor in autocommit mode on a connection of its own."""
    connection = psycopg2.connect(conninfo)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


class Queries:
    """The web UI's and the tests' own view of a database: its own SQL, another connection."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.connection = psycopg2.connect(conninfo)
        self.connection.autocommit = True

    def __call__(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *params: object) -> Any:
        return self(sql, *params)[0][0]

    def post(
        self,
        file_name: str | None,
        form: str | None = "DownloadForStationForm",
        conditions: Any = None,
        user: int = 1,
        timestamp: str = "localtimestamp",
    ) -> int:
        """Insert a row as the web UI does; `conditions` as a string is JSON text."""
        if conditions is None:
            conditions = {"station_name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-12-31"}
        text = conditions if isinstance(conditions, str) else json.dumps(conditions, ensure_ascii=False)
        return int(
            self.value(
                "INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download,"
                " task_status_timestamp, timestamp)"
                f" VALUES (%s, %s, %s, 'в очереди', %s, localtimestamp, {timestamp}) RETURNING id",
                user,
                form,
                text,
                file_name,
            )
        )

    def status(self, post_id: int) -> str:
        return str(self.value("SELECT task_status FROM post WHERE id = %s", post_id))

    def await_status(self, post_id: int, wanted: str, seconds: float = PATIENCE) -> str:
        """Wait until the row's status matches the pattern `wanted`; return it."""
        return wait_for(
            lambda: status if re.fullmatch(wanted, status := self.status(post_id)) else None,
            seconds,
            lambda: (
                f"post {post_id} is {self.status(post_id)!r}, not {wanted!r}: "
                f"{self('SELECT state, error, attempt, spent FROM tksva_q.job WHERE post_id = %s', post_id)}"
            ),
        )

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def sql(database: str) -> Iterator[Queries]:
    queries = Queries(database)
    yield queries
    queries.close()


@pytest.fixture
def own(database: str) -> Iterator[Database]:
    """The library's own connection to the test's database."""
    connection = Database(database, "test")
    yield connection
    connection.close()


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processing of that name."""
    monkeypatch.setitem(processings.REGISTER, "nothing", Processing("nothing", lambda _task: None))


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
    # Forms and workloads of the tests' own stand in tests/integrations, beside the project's.
    return inherited | {"VAR_DIR": str(folder), "PYTHONPATH": str(ROOT / "tests")} | known | chosen


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


class Daemon:
    """A real queue manager in a process of its own."""

    program: tuple[str, ...] = (sys.executable, str(ROOT / "queue_manager.py"))

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        self.files = folder / "files"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            self.program,
            cwd=folder,
            env=environment(conninfo, folder, **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, pattern: str, seconds: float = PATIENCE) -> str:
        """Wait for a line of the log that matches."""
        return str(
            wait_for(
                lambda: next((line for line in self.lines if re.search(pattern, line)), None),
                seconds,
                lambda: f"no line {pattern!r} in:\n{self.log}",
            )
        )

    def file(self, name: str, user: int = 1) -> Path:
        return self.files / str(user) / name

    def kill(self) -> None:
        """SIGKILL the daemon, if it still runs, and wait until it is gone."""
        self.process.kill()
        self._gone()

    def wait(self) -> int:
        """Wait until the daemon ends by itself; return its exit status."""
        self.process.wait(PATIENCE)
        self._gone()
        return self.process.returncode

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM the daemon; return its exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not stop within {seconds} s:\n{self.log}") from None
        self._gone()
        return self.process.returncode

    def _gone(self) -> None:
        self.process.wait()
        self._reader.join(PATIENCE)
        # Somebody whom the daemon left behind may hold the pipe: closing it would then wait for the reader for ever.
        assert not self._reader.is_alive(), f"somebody outlives the daemon {self.pid}"
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a process: Playwright bears no second one beside it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def start_daemon(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons on the test's database and folder; those that are left are stopped at the end."""
    with ExitStack() as stack:

        def start(**settings: object) -> Daemon:
            daemon = Daemon(database, tmp_path, **settings)
            stack.callback(daemon.kill)
            daemon.await_line(" started ")
            return daemon

        yield start
