"""The workload itself: its settings, its schedule, its job from day to day, and what it brings along."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

import processings
from errors import Cancelled, Interrupted, SettingsError, UserError
from integrations.daily_reports import LOOK_BACK, NAME, SCHEDULES, ReportSettings, run
from schedules import check, next_slot
from settings import load_part
from tasks import Task
from tests import ROOT
from tests.daily_reports.conftest import Shop
from tests.database import Queries

Make = Callable[..., Task]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    for key in ReportSettings.model_fields:
        monkeypatch.delenv(key.upper(), raising=False)


# --- the schedule -----------------------------------------------------------------------------------------------------


def test_the_report_is_due_at_midnight_utc_where_nothing_is_chosen() -> None:
    [schedule] = check(SCHEDULES())
    assert next_slot(schedule, datetime(2024, 1, 14, 5, tzinfo=UTC)) == datetime(2024, 1, 15, tzinfo=UTC)


def test_the_schedule_is_meant_in_the_reports_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_TIMEZONE", "Europe/Moscow")
    monkeypatch.setenv("REPORT_SCHEDULE", "0 9 * * *")
    [schedule] = check(SCHEDULES())
    assert next_slot(schedule, datetime(2024, 1, 14, tzinfo=UTC)) == datetime(2024, 1, 14, 6, tzinfo=UTC)


def test_no_night_is_left_out() -> None:
    [schedule] = SCHEDULES()
    assert (schedule.missed, schedule.overlap) == ("all", "queue")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("REPORT_TIMEZONE", value) for value in ("Moscow", "../etc/passwd", "Europe")),
        *(("REPORT_SCHEDULE", value) for value in ("daily", "0 0 30 2 *", "61 * * * *")),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_with_an_example(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=rf"^{key}: .*; пример: {key}="):
        load_part(ReportSettings)


# --- many days --------------------------------------------------------------------------------------------------------


def test_a_period_goes_on_after_an_interruption_where_it_was(shop: Shop, sql: Queries, make_task: Make) -> None:
    for day in range(1, 6):
        shop.order(f"2024-01-0{day} 10:00+00", day)
    asked = iter((False, False, True))
    task = make_task(lambda: next(asked), start_date="2024-01-01", finish_date="2024-01-05")
    with pytest.raises(Interrupted):
        run(task)
    assert [count for _, _, count in shop.reports()] == [1, 2]
    assert sql("SELECT rows, total, cursor FROM tksva_q.job") == [(2, 5, {"days": 2})]
    sql("UPDATE order_items SET quantity = 10 * quantity")
    rest = make_task(start_date="2024-01-01", finish_date="2024-01-05")
    rest.job = dataclasses.replace(rest.job, cursor={"days": 2})
    run(rest)
    assert [count for _, _, count in shop.reports()] == [1, 2, 30, 40, 50]  # no day was made twice


def test_a_cancelled_job_stops_between_two_days(shop: Shop, sql: Queries, make_task: Make) -> None:
    post = sql.post(None, form="daily_report", conditions={})
    task = make_task(start_date="2024-01-01", finish_date="2024-01-05")
    sql("UPDATE tksva_q.job SET post_id = %s", post)
    sql("UPDATE post SET task_status = 'скрыта пользователем'")
    shop.order("2024-01-01 10:00+00", 1)
    with pytest.raises(Cancelled):
        run(task)
    assert shop.reports() == []


def test_a_job_goes_by_the_days_of_the_reports_zone(
    shop: Shop, make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_TIMEZONE", "Asia/Vladivostok")  # ten hours before UTC
    shop.order("2024-01-14 14:00+00", 1)
    shop.order("2024-01-15 13:59+00", 2)
    shop.order("2024-01-15 14:00+00", 3)
    run(make_task(start_date="2024-01-15", finish_date="2024-01-15"))
    assert [(day, count) for day, _, count in shop.reports()] == [("2024-01-15", 1), ("2024-01-15", 2)]


def test_a_job_that_had_made_every_day_makes_none_again(shop: Shop, sql: Queries, make_task: Make) -> None:
    """The daemon may have died between the last day and the end of the job."""
    shop.order("2024-01-01 10:00+00", 1)
    task = make_task(start_date="2024-01-01", finish_date="2024-01-02")
    task.job = dataclasses.replace(task.job, cursor={"days": 2})
    run(task)
    assert shop.reports() == []


# --- what it brings along ---------------------------------------------------------------------------------------------


def test_the_queue_refuses_a_job_without_days_before_it_is_one() -> None:
    assert (
        processings.examine(NAME, json.dumps({"start_date": "2024-01-15", "finish_date": "2024-01-16"}), None) is None
    )
    for params in (None, "{}", '{"start_date": "15.01.2024", "finish_date": "2024-01-16"}'):
        with pytest.raises(UserError):
            processings.examine(NAME, params, None)


def test_nights_without_a_daemon_are_made_up_for_a_month() -> None:
    [schedule] = SCHEDULES()
    assert schedule.look_back == LOOK_BACK == 31 * 86400


def test_neither_daemon_nor_child_pays_for_the_web() -> None:
    heavy = {"fastapi", "openpyxl", "xlsx", "web"}
    code = f"import sys, integrations.daily_reports; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout == "[]\n"
