"""An alert is said once, again after a day, and closed when its problem is over."""

from __future__ import annotations

import datetime
import itertools
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import timetable
from db import Database
from integrations.timers import alerts, definitions, freshness, journal, watch
from jobs import Fence
from tests.conftest import Queries
from tests.timers.conftest import Mailbox

START = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
QUARTER = datetime.timedelta(minutes=15)
TIMER = """
[timers.qtickets]
job = "qtickets_loader"
command = ["qtickets"]
cron = "*/15 * * * *"
time_limit = 300
"""
RESERVE = (
    TIMER
    + """
[timers.gmail]
job = "gmail_loader"
command = ["gmail"]
cron = "0 */4 * * *"
time_limit = 300
enabled = false
reserve_of = "qtickets"
"""
)
_jobs = itertools.count(1)
pytestmark = pytest.mark.usefixtures("queue")


def ended(queue: Database, status: str, message: str = "", timer: str = "qtickets") -> None:
    fence = Fence(next(_jobs), 1, "00000000-0000-0000-0000-000000000000")
    with queue.transaction() as cursor:
        journal.begin(cursor, fence, timer, f"{timer}_loader")
        journal.end(cursor, fence, status, message=message)  # type: ignore[arg-type]


def test_a_job_that_fails_all_day_is_one_alert_one_mail_one_repeat_and_one_end(
    queue: Database, mailbox: Mailbox, define: Callable[[str], Path], sql: Queries
) -> None:
    define(TIMER)
    for number in range(97):  # the 97th is 24 h after the first
        ended(queue, "error", f"код выхода {number}")
        watch.look(queue, START + number * QUARTER)
        assert sql.value("SELECT count(*) FROM zakaz.alerts") == 1
        assert len(mailbox.letters) == (1 if number < 96 else 2)
    title = "Таймер qtickets: запуск закончился ошибкой"
    assert mailbox.subjects() == [title, f"Повторно: {title}"]
    assert "код выхода 96" in mailbox.letters[1].get_content()
    ended(queue, "success")
    for minutes in (0, 1):
        watch.look(queue, START + 97 * QUARTER + datetime.timedelta(minutes=minutes))
    assert mailbox.subjects()[2:] == [f"Закрыто: {title}"]
    assert {str(letter["To"]) for letter in mailbox.letters} == {"duty@example.org"}
    with queue.transaction() as cursor:
        assert alerts.open_alerts(cursor) == []


def test_an_alert_that_a_person_knows_of_is_not_repeated(
    queue: Database, mailbox: Mailbox, define: Callable[[str], Path], sql: Queries
) -> None:
    define(TIMER)
    ended(queue, "error")
    watch.look(queue, START)
    with queue.transaction() as cursor:
        [alert] = alerts.open_alerts(cursor)
        assert alerts.acknowledge(cursor, alert.id, "Иванов")
        assert not alerts.acknowledge(cursor, alert.id, "Петров")
    watch.look(queue, START + datetime.timedelta(days=2))
    assert len(mailbox.letters) == 1
    assert sql("SELECT acknowledged, acknowledged_by FROM zakaz.alerts") == [(True, "Иванов")]


def test_a_mail_server_that_is_away_gets_the_letter_later(
    queue: Database, mailbox: Mailbox, define: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, sql: Queries
) -> None:
    define(TIMER)
    ended(queue, "error")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    with monkeypatch.context() as away:
        away.setenv("SMTP_PORT", str(nobody))
        watch.look(queue, START)
    assert mailbox.letters == []
    assert "refused" in sql.value("SELECT error FROM tksva_q.timer_message")
    watch.look(queue, START + datetime.timedelta(minutes=2))
    assert len(mailbox.letters) == 1


def test_the_reserve_steps_in_after_three_failures_and_leaves_at_the_first_success(
    queue: Database, define: Callable[[str], Path]
) -> None:
    define(RESERVE)
    gmail = definitions.load().schedule("gmail")

    def is_on() -> bool:
        with queue.transaction() as cursor:
            return timetable.listing(cursor, [gmail])[0].enabled

    seen = []
    for number, status in enumerate(["error", "error", "error", "error", "success", "error"]):
        ended(queue, status)
        watch.look(queue, START + number * QUARTER)
        seen.append(is_on())
    assert seen == [False, False, True, True, False, False]
    with queue.transaction() as cursor:
        timetable.enable(cursor, gmail)  # a person wants it on
    watch.look(queue, START + datetime.timedelta(days=1))
    assert is_on()


@pytest.mark.parametrize(("days", "status"), [(0, "ok"), (1, "ok"), (2, "warning"), (3, "error"), (None, "error")])
def test_a_source_is_judged_by_its_newest_date_that_is_not_in_the_future(
    queue: Database, define: Callable[[str], Path], sql: Queries, days: int | None, status: str
) -> None:
    define(TIMER + '[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    sql("CREATE TABLE zakaz.sales (day date)")
    if days is not None:
        sql("INSERT INTO zakaz.sales VALUES (%s), (%s)", START.date() - datetime.timedelta(days), "2030-01-01")
    with queue.transaction() as cursor:
        [found] = freshness.look(cursor, definitions.load(), START)
    assert (found.status, found.days_behind) == (status, days)
    assert found.total_rows == (0 if days is None else 2)
    if days is None:
        assert found.text == "нет данных"
