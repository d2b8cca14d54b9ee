"""The life of an alert: opened, repeated, acknowledged, closed."""

from __future__ import annotations

import datetime
import threading

import pytest

from db import Database
from integrations.timers import alerts, watch
from integrations.timers.alerts import Problem
from tests.database import Queries
from tests.mailbox import Mailbox
from tests.timers.conftest import START, TIMER, Define, ended

HOUR = datetime.timedelta(hours=1)
DAY = 24 * HOUR
pytestmark = pytest.mark.usefixtures("queue")


def problem(key: str = "run:a", message: str = "код выхода 1") -> Problem:
    return Problem(key, "loader", "error", f"Беда {key}", message, {"exit_status": 1})


def keep(queue: Database, now: datetime.datetime, *problems: Problem, channels: tuple[str, ...] = ("mail",)) -> None:
    with queue.transaction() as cursor:
        alerts.keep(cursor, problems, now, DAY, channels)


def said(sql: Queries) -> list[tuple[str, str]]:
    return [tuple(row) for row in sql("SELECT channel, subject FROM tksva_q.timer_message ORDER BY id")]


def test_a_problem_is_one_alert_however_long_it_lasts(queue: Database, sql: Queries) -> None:
    for hours in (0, 1, 23.9, 24, 25, 47.9, 48):
        keep(queue, START + hours * HOUR, problem(message=f"после {hours} ч"))
    assert sql("SELECT job, alert_type, title, message, details, acknowledged FROM zakaz.alerts") == [
        ("loader", "error", "Беда run:a", "после 0 ч", {"exit_status": 1}, False)
    ]
    assert said(sql) == [("mail", "Беда run:a"), ("mail", "Повторно: Беда run:a"), ("mail", "Повторно: Беда run:a")]
    assert sql.value("SELECT body FROM tksva_q.timer_message ORDER BY id DESC LIMIT 1") == "после 48 ч"


def test_what_is_over_is_closed_once_and_opens_anew(queue: Database, sql: Queries) -> None:
    for wrong in ((problem(),), (), (), (problem(),)):
        keep(queue, START, *wrong)
    assert said(sql) == [("mail", "Беда run:a"), ("mail", "Закрыто: Беда run:a"), ("mail", "Беда run:a")]
    assert sql.value("SELECT count(*) FROM zakaz.alerts") == 2


def test_problems_do_not_meddle_and_every_channel_hears_of_each(queue: Database, sql: Queries) -> None:
    keep(queue, START, problem("a"), problem("b"), channels=("mail", "telegram"))
    keep(queue, START, problem("b"), channels=("mail", "telegram"))
    assert sorted(said(sql)) == sorted(
        (channel, subject) for channel in ("mail", "telegram") for subject in ("Беда a", "Беда b", "Закрыто: Беда a")
    )
    with queue.transaction() as cursor:
        assert [alert.title for alert in alerts.open_alerts(cursor)] == ["Беда b"]


def test_two_judges_at_once_open_one_alert(queue: Database, tables: str, sql: Queries) -> None:
    both = threading.Barrier(2, timeout=30)

    def judge() -> None:
        own = Database(tables, "judge")
        both.wait()
        keep(own, START, problem())
        own.close()

    judges = [threading.Thread(target=judge) for _ in range(2)]
    for one in judges:
        one.start()
    for one in judges:
        one.join(30)
    assert said(sql) == [("mail", "Беда run:a")]


def test_what_is_over_cannot_be_acknowledged(queue: Database, sql: Queries) -> None:
    keep(queue, START, problem())
    keep(queue, START)
    with queue.transaction() as cursor:
        assert not alerts.acknowledge(cursor, sql.value("SELECT alert_id FROM zakaz.alerts"), "Иванов")
        assert not alerts.acknowledge(cursor, 0, "Иванов")


def test_an_alert_that_a_person_knows_of_is_not_repeated(
    queue: Database, mailbox: Mailbox, define: Define, sql: Queries
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
