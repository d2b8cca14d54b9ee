"""Every minute: the rules of alerts, the reserve, and what is said about them."""

from __future__ import annotations

import datetime
from collections.abc import Callable

import pytest

import timetable
from db import Database
from integrations.timers import alerts, definitions, journal, watch
from tests.database import Queries
from tests.mailbox import Mailbox
from tests.timers.conftest import QUARTER, START, TIMER, Define, ended, fence

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
pytestmark = pytest.mark.usefixtures("queue")


@pytest.fixture
def titles(queue: Database) -> Callable[[], list[str]]:
    """Titles of the open alerts."""

    def look() -> list[str]:
        with queue.transaction() as cursor:
            return [alert.title for alert in alerts.open_alerts(cursor)]

    return look


def test_a_job_that_fails_all_day_is_one_alert_one_mail_one_repeat_and_one_end(
    queue: Database, mailbox: Mailbox, define: Define, sql: Queries
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


def test_the_reserve_steps_in_after_three_failures_and_leaves_at_the_first_success(
    queue: Database, define: Define, titles: Callable[[], list[str]]
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
        assert ("Включён резерв gmail" in titles()) == is_on()
    assert seen == [False, False, True, True, False, False]
    with queue.transaction() as cursor:
        timetable.enable(cursor, gmail)  # a person wants it on
    watch.look(queue, START + datetime.timedelta(days=1))
    assert is_on()


def test_the_reserve_is_not_called_by_failures_with_a_success_between_them(queue: Database, define: Define) -> None:
    define(RESERVE)
    for status in ("error", "error", "success", "error", "error"):
        ended(queue, status)
        watch.look(queue, START)
    with queue.transaction() as cursor:
        assert not timetable.listing(cursor, [definitions.load().schedule("gmail")])[0].enabled


def test_a_run_that_is_to_be_tried_again_is_not_the_last_word(
    queue: Database, define: Define, sql: Queries, titles: Callable[[], list[str]]
) -> None:
    define(TIMER)
    made = ended(queue, "error")
    sql(
        "INSERT INTO tksva_q.job (id, form, state) OVERRIDING SYSTEM VALUE VALUES (%s, 'timer', 'waiting')", made.job_id
    )
    watch.look(queue, START)
    assert titles() == []
    sql("UPDATE tksva_q.job SET state = 'failed', finished_at = now()")
    watch.look(queue, START)
    assert titles() == ["Таймер qtickets: запуск закончился ошибкой"]


def test_a_run_that_somebody_has_stopped_is_neither_a_failure_nor_the_end_of_one(
    queue: Database, define: Define, sql: Queries, titles: Callable[[], list[str]]
) -> None:
    define(RESERVE)

    def stop(runs: int) -> None:
        for _ in range(runs):
            made = ended(queue, "error", "прервано: отменено")
            sql(
                "INSERT INTO tksva_q.job (id, form, state, finished_at) OVERRIDING SYSTEM VALUE"
                " VALUES (%s, 'timer', 'cancelled', now())",
                made.job_id,
            )
        watch.look(queue, START)

    stop(4)
    assert titles() == []
    ended(queue, "error")
    stop(6)
    assert titles() == ["Таймер qtickets: запуск закончился ошибкой"]


def test_a_table_that_does_not_answer_keeps_no_alert_from_being_kept_and_said(
    queue: Database, define: Define, sql: Queries, mailbox: Mailbox, titles: Callable[[], list[str]]
) -> None:
    define(TIMER + '[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    sql("CREATE TABLE zakaz.sales (day date)")
    ended(queue, "error")
    sql("BEGIN; LOCK TABLE zakaz.sales")
    watch.look(queue, START)
    sql("ROLLBACK")
    wanted = ["Источник sales: данные устарели", "Таймер qtickets: запуск закончился ошибкой"]
    assert sorted(titles()) == sorted(mailbox.subjects()) == wanted


def test_a_stale_source_is_an_alert_until_data_come(
    queue: Database, define: Define, sql: Queries, titles: Callable[[], list[str]]
) -> None:
    define(TIMER + '[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    sql("CREATE TABLE zakaz.sales (day date); INSERT INTO zakaz.sales VALUES (%s)", START.date())
    seen = []
    for days in (1, 2, 3, 4):
        watch.look(queue, START + datetime.timedelta(days=days))
        seen.append([title for title in titles() if "sales" in title])
    title = "Источник sales: данные устарели"
    assert seen == [[], [], [title], [title]]
    wanted = {"latest_date": str(START.date()), "total_rows": 1}
    assert sql("SELECT details FROM zakaz.alerts WHERE job = 'sales'") == [(wanted,)]
    sql("INSERT INTO zakaz.sales VALUES (%s)", START.date() + datetime.timedelta(days=4))
    watch.look(queue, START + datetime.timedelta(days=4))
    assert title not in titles()


def test_a_silent_timer_is_an_alert_that_closes_when_it_runs_again(
    define: Define, queue: Database, sql: Queries, titles: Callable[[], list[str]]
) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\n')

    def after(minutes: int) -> list[str]:
        watch.look(queue, START + datetime.timedelta(minutes=minutes))
        return titles()

    assert [after(0), after(30), after(31)] == [[], [], ["Таймер a молчит"]]
    ran = START + datetime.timedelta(minutes=32)
    sql("INSERT INTO zakaz.meta_job_runs VALUES ('a', %s, %s, 1, 'success')", ran, ran)
    sql("INSERT INTO tksva_q.timer_run VALUES (1, 1, 'a', 'a', %s)", ran)
    assert after(33) == []


def test_the_run_of_a_dead_worker_is_ended_once(queue: Database, define: Define, sql: Queries) -> None:
    define(TIMER)
    with queue.transaction() as cursor:
        journal.begin(cursor, fence(), "qtickets", "qtickets_loader")
    watch.look(queue, START)
    [(status, message, ended_at)] = sql("SELECT status, message, finished_at FROM zakaz.meta_job_runs")
    assert (status, message) == ("error", "прервано: работник исчез")
    watch.look(queue, START)
    assert sql.value("SELECT finished_at FROM zakaz.meta_job_runs") == ended_at
