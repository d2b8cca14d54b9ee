"""A real broker, the daemon that announces jobs to it, and workers as systemd would start them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import queueing
from db import Database
from faults.rabbitmq import RabbitMQ, running_rabbitmq
from tests import ROOT
from tests.daemons import Daemon
from tests.database import Queries
from tests.waiting import wait_for

Start = Callable[..., "Daemon"]


class Worker(Daemon):
    """`python broker_worker.py`: TaskIQ's process manager, one worker process, its children."""

    module = None
    program = (sys.executable, str(ROOT / "broker_worker.py"))

    def process_of_jobs(self) -> psutil.Process:
        """Return the process whose lease the jobs run under: what TaskIQ's manager has started first."""
        return wait_for(
            lambda: next(
                (
                    child
                    for child in psutil.Process(self.pid).children()
                    if "resource_tracker" not in " ".join(child.cmdline())
                ),
                None,
            )
        )

    def children(self) -> list[psutil.Process]:
        """Return the processes that run jobs: children of the fork server."""
        own = self.process_of_jobs()
        return [
            child
            for helper in own.children()
            for child in helper.children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ]


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    with running_rabbitmq() as server:
        yield server


@pytest.fixture
def broker_url(rabbitmq: RabbitMQ) -> str:
    """BROKER_URL of a broker that the tests share; a test's queue begins empty."""
    rabbitmq.purge()
    return rabbitmq.url


@pytest.fixture
def start(database: str, tmp_path: Path, broker_url: str) -> Iterator[Start]:
    """Start the daemon, or workers, on the test's database, folder and broker; those that are left are killed."""
    with ExitStack() as ends:  # each is killed also where that of another has failed

        def begin(kind: type[Daemon] = Worker, **settings: object) -> Daemon:
            usual = {"broker_url": broker_url, "integrations": "testing", "heartbeat_seconds": 1}
            process = kind(database, tmp_path, **(usual | settings))
            ends.callback(_kill, process)
            process.await_line(" broker_connected", 60)
            return process

        yield begin


def _kill(process: Daemon) -> None:
    if process.process.poll() is None:
        process.kill()


def submit(own: Database, form: str = "empty", count: int = 1, **columns: object) -> list[int]:
    """Queue so many jobs in one transaction."""
    with own.transaction() as cursor:
        return [queueing.submit(cursor, form, {}, **columns) for _ in range(count)]  # type: ignore[arg-type]


def await_done(sql: Queries, count: int, seconds: float = 60) -> None:
    wait_for(
        lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") == count,
        seconds,
        lambda: str(sql("SELECT state, count(*), min(error) FROM tksva_q.job GROUP BY 1")),
    )


def each_ran_once(sql: Queries) -> bool:
    return sql("SELECT count(*), count(DISTINCT job_id) FROM tksva_q.attempt WHERE outcome = 'done'") == sql(
        "SELECT count(*), count(*) FROM tksva_q.job"
    )
