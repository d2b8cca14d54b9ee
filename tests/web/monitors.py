"""A monitor for a test, and what there is for it to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.database import Queries
from tests.waiting import wait_for
from web import monitor as web_monitor
from web.monitor import Look, Monitor


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks as often as a test wants to wait."""
    monkeypatch.setattr(web_monitor, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(web_monitor, "WATCHED_SECONDS", 0.01)
    monkeypatch.setattr(web_monitor, "LOOK_SECONDS", 10.0)


@pytest.fixture
def make(database: str) -> Iterator[Callable[..., Monitor]]:
    made: list[Monitor] = []

    def new(address: Callable[[], str] = lambda: database) -> Monitor:
        made.append(monitor := Monitor(address))
        return monitor

    yield new
    for monitor in made:
        monitor.stop()
        if monitor._thread.is_alive():
            monitor._thread.join(20)


@pytest.fixture
def monitor(make: Callable[..., Monitor]) -> Monitor:
    """A monitor that looks without anybody's event loop."""
    monitor = make()
    monitor._thread.start()
    wait_for(lambda: monitor.look)
    return monitor


def seen(monitor: Monitor, wanted: Callable[[Look], object]) -> Look:
    """Wait for a look that shows what is wanted."""

    def probe() -> Look | None:
        look = monitor.look
        return look if look and wanted(look) else None

    found = wait_for(probe)
    assert isinstance(found, Look)
    return found


def worker(sql: Queries, age: float, lease: float = 15.0) -> None:
    """A queue manager whose loop was last seen so many seconds ago."""
    sql(
        "INSERT INTO tksva_q.worker (id, host, process, lease_seconds, seen_at, loop_at) VALUES"
        " (gen_random_uuid(), 'h', '1:1', %s, now(), clock_timestamp() - make_interval(secs => %s))",
        lease,
        age,
    )


def job(sql: Queries, rows: int = 0, total: int | None = 1000) -> int:
    """A job that is being prepared."""
    return int(
        sql.value(
            "INSERT INTO tksva_q.job (form, state, worker, slot, attempt, rows, total)"
            " VALUES ('f', 'running', gen_random_uuid(), 0, 1, %s, %s) RETURNING id",
            rows,
            total,
        )
    )
