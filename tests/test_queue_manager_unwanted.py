"""Jobs that nobody wants any more, by the hundred: the loop ends them in as many seconds as it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import queue_manager
from queue_manager import QueueManager
from tests.claims import take_in
from tests.daemons import make_settings
from tests.database import Queries


def test_the_loop_goes_round_however_many_rows_were_hidden(
    database: str, sql: Queries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_manager, "CANCEL_SECONDS", -1.0)
    for _ in range(3):
        sql.post("a.csv")
    manager = QueueManager(make_settings(database, tmp_path, broker_url="redis://127.0.0.1:1"), database)
    try:
        take_in(manager.database)
        sql("UPDATE post SET task_status = 'скрыта пользователем'")
        for ended in (1, 2, 3):
            manager._tick()
            assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'cancelled'") == ended
    finally:
        manager.database.close()
