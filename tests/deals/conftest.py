"""What the tests of the deals share: managers, a stand-in for Bitrix24, a queue and a web process that know them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

import jobs
import leases
import schema
from db import Database
from faults.bitrix import Bitrix
from integrations.deals import book, broker, together
from integrations.deals.options import DealSettings
from tasks import Task
from tests.daemons import make_settings
from tests.database import Queries, fresh, server_cursor
from tests.waiting import wait_for
from tests.web.conftest import page, start_web

__all__ = ["page", "start_web"]

ON = {"integrations": "deals"}
MANAGERS = range(1, 7)

MakeTask = Callable[..., Task]


@pytest.fixture
def bitrix() -> Iterator[Bitrix]:
    server = Bitrix()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def deals_template(postgres: str, template: str) -> str:
    """Name of a database with the tables of the deals and six managers, to be copied."""
    name = "tksva_template_deals"
    with server_cursor(postgres) as cursor:
        cursor.execute(f'CREATE DATABASE {name} TEMPLATE "{template}" STRATEGY FILE_COPY')
    conninfo = psycopg2.extensions.make_dsn(postgres, dbname=name)
    schema.migrate(conninfo, workloads=["deals"])
    opened = Database(conninfo, "test")
    with opened.transaction() as cursor:
        for number in MANAGERS:
            book.add(cursor, str(number), f"Менеджер {number}")
    opened.close()
    return name


@pytest.fixture
def database(postgres: str, deals_template: str) -> Iterator[str]:
    """Connection string of a database with six managers."""
    yield from fresh(postgres, deals_template)


@pytest.fixture
def deals(own: Database) -> Database:
    """A connection to a database with six managers."""
    return own


@pytest.fixture
def options(bitrix: Bitrix) -> Callable[..., DealSettings]:
    """Settings that lead to the stand-in and do not dawdle."""

    def make(**changed: object) -> DealSettings:
        given = {key: value for key, value in fast(bitrix, **changed).items() if key in DealSettings.model_fields}
        return DealSettings(**given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_task(deals: Database, database: str, tmp_path: Path) -> Iterator[MakeTask]:
    """Claim the next deal's job over a connection of its own, by a worker that is one of this process's children."""
    connections: list[Database] = []
    me = leases.Worker.this_process(600)
    slots = itertools.count()

    def make(stopping: Callable[[], bool] = lambda: False) -> Task:
        own = Database(database, "test task")
        connections.append(own)
        with own.transaction() as cursor:
            me.renew(cursor)
            job = jobs.claim(cursor, me.id, next(slots))
        assert job is not None
        return Task(job, make_settings(database, tmp_path), own, lambda: None, stopping)  # type: ignore[arg-type, return-value]

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's process has learned is no matter of the next one's."""
    monkeypatch.setattr(together, "_shy_until", 0.0)
    monkeypatch.setattr(broker, "_unwritten", 0)


def fast(bitrix: Bitrix, **changed: object) -> dict[str, object]:
    """Settings of a process: those that lead to the stand-in, and pauses that a test can wait for."""
    return ON | {
        "webhook_carex": bitrix.url,
        "bitrix_rate": 500,
        "bitrix_pause": 0.01,
        "bitrix_attempts": 3,
        "bitrix_timeout": 20,
        "log_level": "DEBUG",
        **changed,
    }


def queue(deals: Database, *numbers: int) -> None:
    """Let deals come in; a contact's number is that of its deal, and 1000."""
    with deals.transaction() as cursor:
        for number in numbers:
            book.queue(cursor, number, 1000 + number)


def leave(deals: Database, *people: int, excluded: bool = True) -> None:
    with deals.transaction() as cursor:
        for person in people:
            assert book.exclude(cursor, str(person), excluded)


def states(sql: Queries) -> dict[str, int]:
    return dict(sql("SELECT state, count(*) FROM tksva_q.deal GROUP BY 1"))


def await_states(sql: Queries, **wanted: int) -> None:
    """Wait until so many deals are in these states, and none in others."""
    wait_for(lambda: states(sql) == wanted, 60, lambda: f"{states(sql)}, {sql('SELECT error FROM tksva_q.job')}")


def settle(task: Task, error: Exception | None = None) -> None:
    """End the attempt of a task as its child would."""
    end = jobs.Settlement("failed", "failed", str(error)) if error else jobs.Settlement("done", "done")
    with task.database.transaction() as cursor:
        jobs.settle(cursor, task.job.fence, None, end)
