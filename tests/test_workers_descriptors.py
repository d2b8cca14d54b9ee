"""A worker with more open files than `select` bears, as hundreds of children make them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import queueing
from tests.daemons import make_settings
from tests.database import Queries
from tests.waiting import wait_for
from worker_loop import WorkerLoop

#: The greatest number that `select` takes is one less.
SELECT_LIMIT = 1024


@pytest.fixture
def usual_limit() -> Iterator[None]:
    """The soft limit that a service has; the process gets its own back, and what it has opened is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * SELECT_LIMIT:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (SELECT_LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def opened() -> Iterator[list[int]]:
    numbers: list[int] = []
    yield numbers
    for number in numbers:
        os.close(number)


@pytest.mark.usefixtures("usual_limit")
def test_a_worker_runs_jobs_above_the_limit_of_select(
    database: str, sql: Queries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    settings = make_settings(database, tmp_path, integrations="testing")
    WorkerLoop(settings, database, "tksva_q first", 0)  # raises the limit
    opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(SELECT_LIMIT)]
    loop = WorkerLoop(settings, database, "tksva_q test", 1)
    try:
        assert loop.crew.slots[0].channel.fileno() > SELECT_LIMIT
        with loop.database.transaction() as cursor:
            loop.me.renew(cursor)
            job = queueing.submit(cursor, "empty", {})
        assert loop._claim(0) is not None

        def done() -> bool:
            loop._wait(time.monotonic() + 0.1)
            loop._hear_children()
            return not loop.crew.busy()

        wait_for(done, 60)
        assert sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job) == "done"
    finally:
        loop.crew.close()
        loop.database.close()
