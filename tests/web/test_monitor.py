"""One look at the database a second, whoever watches: what it sees of a real one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from psycopg2.extensions import parse_dsn

from tests.database import Queries, server_cursor
from tests.waiting import wait_for
from tests.web.monitors import job, make, monitor, quick, seen, worker
from web import monitor as web_monitor
from web.monitor import FROZEN_SECONDS, Monitor

__all__ = ["make", "monitor", "quick"]  # fixtures


# --- the loop's pulse -------------------------------------------------------------------------------------------------


def test_without_a_queue_manager_no_loop_is_alive(monitor: Monitor) -> None:
    assert monitor.look
    assert (monitor.look.loop_age, monitor.look.loop_alive) == (None, False)


def test_a_loop_is_alive_until_most_of_its_lease_has_gone_by(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=5, lease=60)
    look = seen(monitor, lambda look: look.loop_age)
    assert (look.loop_alive, look.loop_limit) == (True, 48.0)
    sql("UPDATE tksva_q.worker SET loop_at = clock_timestamp() - interval '49 s'")
    look = seen(monitor, lambda look: not look.loop_alive)
    assert look.loop_age
    assert look.loop_age >= 49


def test_a_short_lease_does_not_make_a_busy_machine_a_frozen_loop(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=0, lease=0.3)
    assert seen(monitor, lambda look: look.loop_age is not None).loop_limit == FROZEN_SECONDS


def test_the_newest_loop_counts(make: Callable[..., Monitor], sql: Queries) -> None:
    for age in (1000, 1, 500):
        worker(sql, age)
    monitor = make()
    monitor._thread.start()
    assert (seen(monitor, lambda look: look).loop_age or 0) < 400


# --- running jobs -----------------------------------------------------------------------------------------------------


def test_a_running_job_is_seen_with_its_speed_and_what_is_left(monitor: Monitor, sql: Queries) -> None:
    number = job(sql)
    [first] = seen(monitor, lambda look: look.running).running
    assert (first.id, first.rows, first.total, first.speed, first.left) == (number, 0, 1000, None, None)
    sql("UPDATE tksva_q.job SET rows = 600")
    [second] = seen(monitor, lambda look: look.running[0].rows).running
    assert second.speed
    assert second.left == pytest.approx(400 / second.speed)


def test_what_is_left_is_never_less_than_nothing(monitor: Monitor, sql: Queries) -> None:
    """A table may have got rows since they were counted."""
    job(sql)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET rows = 1500")
    [found] = seen(monitor, lambda look: look.running[0].rows).running
    assert found.left == 0


def test_of_a_job_whose_rows_nobody_has_counted_only_the_speed_is_known(monitor: Monitor, sql: Queries) -> None:
    job(sql, total=None)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET rows = 10")
    [found] = seen(monitor, lambda look: look.running[0].rows).running
    assert found.speed
    assert (found.total, found.left) == (None, None)


def test_a_job_that_runs_no_more_is_not_remembered(monitor: Monitor, sql: Queries) -> None:
    job(sql)
    seen(monitor, lambda look: look.running)
    sql("UPDATE tksva_q.job SET state = 'done', worker = NULL, finished_at = now()")
    seen(monitor, lambda look: not look.running)
    assert monitor._speeds._seen == {}


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO tksva_q.job (form) VALUES ('new')",
        "UPDATE tksva_q.job SET attempt = 2",
        "UPDATE tksva_q.job SET state = 'done', worker = NULL, finished_at = now()",
        "UPDATE tksva_q.job SET state = 'waiting', worker = NULL",
    ],
)
def test_the_lists_have_another_version_when_they_have_changed(monitor: Monitor, sql: Queries, change: str) -> None:
    job(sql)
    before = seen(monitor, lambda look: look.running)
    sql(change)
    seen(monitor, lambda look: look.version != before.version)


def test_progress_alone_is_no_other_version(monitor: Monitor, sql: Queries) -> None:
    job(sql)
    worker(sql, age=0)
    before = seen(monitor, lambda look: look.running and look.loop_alive)
    sql("UPDATE tksva_q.job SET rows = 500; UPDATE tksva_q.worker SET loop_at = clock_timestamp()")
    assert seen(monitor, lambda look: look.running[0].rows).version == before.version


def test_a_loop_that_dies_is_another_version(monitor: Monitor, sql: Queries) -> None:
    worker(sql, age=0)
    before = seen(monitor, lambda look: look.loop_alive)
    sql("UPDATE tksva_q.worker SET loop_at = clock_timestamp() - interval '1 h'")
    assert seen(monitor, lambda look: not look.loop_alive).version != before.version


# --- a database that is away ------------------------------------------------------------------------------------------


def test_before_the_first_look_it_is_away(make: Callable[..., Monitor]) -> None:
    monitor = make()
    assert monitor.away() == "ещё не спрошена"
    assert monitor.look is None


def test_a_database_that_goes_and_comes_back_is_noticed_both_times(
    monitor: Monitor, database: str, postgres: str
) -> None:
    name = parse_dsn(database)["dbname"]
    with server_cursor(postgres) as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        wait_for(lambda: "not currently accepting connections" in (monitor.away() or ""))
        assert monitor.look is None
        assert "\n" not in (monitor.away() or "")
        cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    wait_for(lambda: monitor.look)
    assert monitor.away() is None


def test_a_queue_without_tables_counts_as_away(make: Callable[..., Monitor], empty_database: str) -> None:
    monitor = make(lambda: empty_database)
    monitor._thread.start()
    wait_for(lambda: "tksva_q" in (monitor.away() or ""))


def test_a_look_that_does_not_come_back_counts_as_none(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(monitor, "_take", lambda: hang.wait(60))
    monkeypatch.setattr(web_monitor, "PATIENCE", 0.1)
    try:
        assert re.fullmatch(r"не отвечает \d+ с", wait_for(monitor.away))
        assert monitor.look is None
    finally:
        monitor.stop()
        hang.set()


def test_after_its_end_it_looks_no_more(monitor: Monitor) -> None:
    monitor.stop()
    monitor._thread.join(20)
    assert not monitor._thread.is_alive()
