"""Jobs handed out over a real RabbitMQ: by the daemon, to workers in processes of their own."""

from __future__ import annotations

import pytest

from db import Database
from tests.conftest import Daemon, Queries
from tests.dispatch.conftest import START, await_done, each_ran_once, submit

# The broker starts within the first test's time.
pytestmark = pytest.mark.timeout(180)


def test_jobs_run_in_workers_each_once(start: START, own: Database, sql: Queries) -> None:
    start(Daemon)
    workers = [start() for _ in range(3)]
    submit(own, count=300)
    await_done(sql, 300)
    assert each_ran_once(sql)
    for worker in workers:
        assert worker.stop() == 0
    assert sql.value("SELECT count(*) FROM tksva_q.worker") == 1
