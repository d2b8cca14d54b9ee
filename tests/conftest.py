"""What tests share: a real PostgreSQL, a fresh database for each test, a small warehouse, a real daemon."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest
from playwright.sync_api import Browser, sync_playwright

import processings
import schema
from db import Database
from embedded import embedded_dsn
from processings import Processing
from tests import warm
from tests.daemons import Start, daemons
from tests.database import WAREHOUSE, Queries, fresh, server_cursor
from tests.folders import for_servers

#: Debian's; the tests download no browser.
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking", "--lang=ru-RU"]

#: The folder that `pytest_configure` has made for the session.
_FOLDER = pytest.StashKey[Path]()

# A shell that runs the tests in the background has them ignore Ctrl-C, and so does everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

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
    warm.close()
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
    folder = for_servers()
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
    yield from fresh(postgres, "template0")


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[str]:
    """Connection string of a fresh database with the queue's schema and the small warehouse."""
    yield from fresh(postgres, template)


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a process: Playwright bears no second one beside it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def start_daemon(database: str, tmp_path: Path) -> Iterator[Start]:
    """Start daemons on the test's database and folder; those that are left are killed at the end."""
    with daemons(database, tmp_path) as start:
        yield start
