"""A real daemon makes the report by itself, of the right day, and after a kill all the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.daemons import Daemon
from tests.daily_reports.conftest import ON, Shop
from tests.database import Queries
from tests.waiting import wait_for

START = Callable[..., Daemon]


def elsewhere() -> str:
    """A zone in which it is another day now than in UTC."""
    return "Pacific/Kiritimati" if datetime.now(UTC).hour >= 11 else "Pacific/Pago_Pago"


def test_the_schedule_fires_by_itself_for_the_day_before_in_the_reports_zone(
    shop: Shop, sql: Queries, start_daemon: START
) -> None:
    zone = elsewhere()
    today = datetime.now(ZoneInfo(zone)).date()
    orders: dict[date, int] = {}
    for back in range(-1, 4):
        day = today - timedelta(days=back)
        orders[day] = shop.order(datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone)).isoformat(), 1)
    # Each second: the next one comes however long a busy machine takes to start.
    start_daemon(**ON, report_timezone=zone, report_schedule="* * * * * *", tz="America/New_York")
    [(planned_at,)] = wait_for(
        lambda: sql("SELECT planned_at FROM tksva_q.job WHERE state = 'done' AND form = 'daily_report' LIMIT 1"), 30
    )
    expected = planned_at.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)
    assert (str(expected), orders[expected], 1) in shop.reports()
    assert expected != planned_at.astimezone(UTC).date() - timedelta(days=1)
    assert {day for day, _, _ in shop.reports()} <= {str(expected), str(expected + timedelta(days=1))}  # midnight
    assert sql("SELECT name FROM tksva_q.schedule") == [("daily_reports",)]


def test_a_daemon_killed_in_the_middle_of_a_day_leaves_the_old_report_and_the_next_makes_the_new(
    shop: Shop, sql: Queries, start_daemon: START
) -> None:
    order = shop.order("2024-01-15 10:00+00", 3)
    sql("INSERT INTO reports (report_at, order_id, count_product) VALUES ('2024-01-15', %s, 1)", order)
    days = '{"start_date": "2024-01-15", "finish_date": "2024-01-16"}'
    sql("INSERT INTO tksva_q.job (form, params) VALUES ('daily_report', %s)", days)
    sql("BEGIN; LOCK order_items IN ACCESS EXCLUSIVE MODE")
    daemon = start_daemon(**ON)
    try:
        wait_for(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE relation = 'order_items'::regclass") == 2)
        daemon.kill()
        assert shop.reports() == [("2024-01-15", order, 1)]
    finally:
        sql("ROLLBACK")
    start_daemon(**ON)
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job") == "done", 30)
    assert shop.reports() == [("2024-01-15", order, 3)]
    assert sql.value("SELECT rows FROM tksva_q.job") == 2
