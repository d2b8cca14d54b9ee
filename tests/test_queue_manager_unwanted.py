"""Jobs that nobody wants any more: the loop ends them in as many seconds as it takes, and waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import queue_manager
from queue_manager import QueueManager
from tests.claims import take_in
from tests.daemons import make_settings
from tests.database import Queries, held


@pytest.fixture
def manager(database: str, sql: Queries, tmp_path: Path) -> Iterator[QueueManager]:
    """A manager with three jobs that wait for a broker."""
    for _ in range(3):
        sql.post("a.csv")
    manager = QueueManager(make_settings(database, tmp_path, broker_url="redis://127.0.0.1:1"), database)
    take_in(manager.database)
    yield manager
    manager.database.close()


def cancelled(sql: Queries) -> int:
    return int(sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'cancelled'"))


def test_the_loop_goes_round_however_many_rows_were_hidden(
    manager: QueueManager, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_manager, "CANCEL_SECONDS", -1.0)
    sql("UPDATE post SET task_status = 'скрыта пользователем'")
    for ended in (1, 2, 3):
        manager._tick()
        assert cancelled(sql) == ended


def test_a_hidden_row_whose_job_somebody_holds_is_left_until_it_is_free(manager: QueueManager, sql: Queries) -> None:
    sql("UPDATE post SET task_status = 'скрыта пользователем'")
    with held(sql.conninfo, "SELECT FROM tksva_q.job ORDER BY id LIMIT 1 FOR UPDATE"):
        manager._tick()
        assert cancelled(sql) == 2
    manager._tick()
    assert cancelled(sql) == 3
