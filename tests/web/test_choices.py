"""The two forms as the embedded default offers them: from what is chosen, what job that makes, how many rows."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

import processings
from db import Database
from errors import UserError
from settings import Settings
from storage import check_name
from tests.daemons import make_settings
from tests.database import WAREHOUSE_ROWS, Queries
from web import choices
from web.choices import FORMS, Choices, Form

STATION, RAILWAY = FORMS


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    return make_settings(database, tmp_path)


def read(own: Database) -> Choices:
    with own.statement() as cursor:
        return choices.read(cursor)


def note(sql: Queries, **info: object) -> None:
    """Have the Inspector note this about the table."""
    sql("UPDATE dwh_tables_info SET table_info = %s::json", json.dumps(info, ensure_ascii=False))


# --- what can be chosen -----------------------------------------------------------------------------------------------


def test_what_the_inspector_has_noted_can_be_chosen(own: Database) -> None:
    found = read(own)
    assert found.places(STATION) == ("Лена", "Тайшет", 'Чита "1"')
    assert found.places(RAILWAY) == ("В-СИБ", "ЗАБ")
    assert (found.first_day, found.last_day) == (date(2024, 1, 1), date(2024, 2, 29))


def test_a_name_is_offered_once_and_an_empty_one_never(own: Database, sql: Queries) -> None:
    note(sql, station_names="Б|А|| |Б|", railway_names=None, min_date="2024-01-01 00:00:00", max_date="")
    assert read(own) == Choices(("А", "Б"), (), date(2024, 1, 1), None)


@pytest.mark.parametrize(
    "info",
    ['"text"', "[]", "7", '{"min_date": "январь"}', '{"station_names": 5}', '{"max_date": 20240101}', "null", None],
)
def test_a_note_that_makes_no_sense_is_none(own: Database, sql: Queries, info: str | None) -> None:
    sql("UPDATE dwh_tables_info SET table_info = %s::json", info)
    assert read(own) == Choices()


def test_before_the_inspector_came_there_is_nothing_to_choose(own: Database, sql: Queries) -> None:
    sql("DELETE FROM dwh_tables_info")
    assert read(own) == Choices()


@pytest.mark.parametrize(
    ("first", "last", "start"),
    [
        (date(2023, 1, 1), date(2024, 3, 30), date(2024, 1, 1)),
        (date(2024, 3, 1), date(2024, 3, 30), date(2024, 3, 1)),
        (None, date(2024, 3, 30), None),
        (date(2023, 1, 1), None, None),
    ],
)
def test_a_form_asks_for_the_last_ninety_days_at_first(
    first: date | None, last: date | None, start: date | None
) -> None:
    assert Choices(first_day=first, last_day=last).start == start


# --- the forms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_the_page_is_one_of_the_queues(form: Form) -> None:
    assert choices.find(form.name) is form
    assert form.name in processings.REGISTER
    job = choices.job(form, "Лена", "2024-01-01", "2024-01-31", "csv")
    assert processings.examine(job.form, json.dumps(job.conditions), job.file_name) == processings.ORDERS


def test_there_is_no_other_form() -> None:
    with pytest.raises(UserError, match="такой формы нет"):
        choices.find("DownloadForContainerForm")


def test_a_filled_form_makes_the_job_that_the_web_ui_would() -> None:
    job = choices.job(STATION, "  Чита  ", "2024-01-01", "2024-01-31", "xlsx")
    assert job.model_dump() == {
        "form": "DownloadForStationForm",
        "conditions": {"station_name": "Чита", "start_date": "2024-01-01", "finish_date": "2024-01-31"},
        "user_id": choices.USER,
        "file_name": "Чита 2024-01-01 — 2024-01-31.xlsx",
        "priority": 5,
    }


@pytest.mark.parametrize(
    ("place", "start", "finish", "extension", "complaint"),
    [
        ("", "2024-01-01", "2024-01-31", "csv", "station_name"),
        ("  ", "2024-01-01", "2024-01-31", "csv", "station_name"),
        ("Чита", "2024-02-30", "2024-03-31", "csv", "start_date"),
        ("Чита", "", "2024-03-31", "csv", "start_date"),
        ("Чита", "2024-01-31", "2024-01-01", "csv", "finish_date"),
        ("Чита", "2024-01-01", "2024-01-31", "exe", "формат"),
        ("Чита", "2024-01-01", "2024-01-31", "", "формат"),
    ],
)
def test_what_is_wrong_with_a_filled_form_is_said(
    place: str, start: str, finish: str, extension: str, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        choices.job(STATION, place, start, finish, extension)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ('Чита "1"', "Чита _1_"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("...", "файл"),
        ("a:b\\c|d?e*f<g>h", "a_b_c_d_e_f_g_h"),
        (". Чита .", "Чита"),
    ],
)
def test_a_place_becomes_a_name_that_every_system_takes(place: str, name: str) -> None:
    job = choices.job(STATION, place, "2024-01-01", "2024-01-31", "csv")
    assert job.file_name == check_name(job.file_name) == f"{name} 2024-01-01 — 2024-01-31.csv"
    assert job.conditions["station_name"] == place


@pytest.mark.parametrize("place", ["я" * 255, "a" * 255, "😀" * 255, "я" * 87 + " " * 30 + "б"])
def test_a_long_place_is_cut_in_the_name_alone(place: str) -> None:
    job = choices.job(STATION, place, "2024-01-01", "2024-01-31", "csv")
    assert job.file_name
    assert job.file_name.endswith(" 2024-01-01 — 2024-01-31.csv")
    assert len(job.file_name) <= 140
    assert len(job.file_name.encode()) <= 200
    assert job.conditions["station_name"] == place


# --- how many rows ----------------------------------------------------------------------------------------------------


def test_the_rows_of_a_filled_form_are_counted(settings: Settings, sql: Queries) -> None:
    counted = choices.estimate(settings, STATION, " Тайшет ", "2024-01-01", "2024-12-31")
    assert counted == WAREHOUSE_ROWS / 3
    expected = sql.value(
        'SELECT count(*) FROM audit._sales__execution_orders WHERE "Дор. Отправления" = %s'
        " AND \"SVOD.Дата отправки\" >= '2024-01-05' AND \"SVOD.Дата отправки\" < '2024-01-07'",
        "ЗАБ",
    )
    assert choices.estimate(settings, RAILWAY, "ЗАБ", "2024-01-05", "2024-01-06") == expected > 0


def test_a_form_that_cannot_be_is_not_counted(settings: Settings) -> None:
    with pytest.raises(UserError, match="finish_date"):
        choices.estimate(settings, STATION, "Тайшет", "2024-12-31", "2024-01-01")
