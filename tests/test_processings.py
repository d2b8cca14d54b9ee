"""The register: what a row can call, and what the two forms of the web UI ask the warehouse for."""

from __future__ import annotations

import datetime
import json
import types
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processings
from conditions import Period
from dwh import During, Equals, Extract
from errors import UserError
from processings import ORDERS, REGISTER, Processing, Railway, Station, examine, find
from tasks import Task

DAYS = {"start_date": "2024-01-01", "finish_date": "2024-01-31"}
STATION = json.dumps(DAYS | {"station_name": "Тайшет"})
RAILWAY = json.dumps(DAYS | {"railway_name": "В-СИБ"})
JANUARY = During("SVOD.Дата отправки", datetime.date(2024, 1, 1), datetime.date(2024, 1, 31))


@pytest.fixture(autouse=True)
def register(monkeypatch: pytest.MonkeyPatch) -> dict[str, Processing]:
    """A register of the test's own, with the web UI's forms in it."""
    own = {name: REGISTER[name] for name in ("DownloadForStationForm", "DownloadForRailwayForm")}
    monkeypatch.setattr(processings, "REGISTER", own)
    return own


# --- the web UI's forms -----------------------------------------------------------------------------------------------


def test_the_form_for_a_station_asks_for_its_orders_in_the_whole_period() -> None:
    wanted = Station(JANUARY.start, JANUARY.finish, "Тайшет")
    assert processings.DownloadForStationForm(wanted) == Extract(
        "audit._sales__execution_orders", (Equals("Ст. Отправления", "Тайшет"), JANUARY)
    )


def test_the_form_for_a_railway_asks_for_its_orders_in_the_whole_period() -> None:
    wanted = Railway(JANUARY.start, JANUARY.finish, "В-СИБ")
    assert processings.DownloadForRailwayForm(wanted) == Extract(
        "audit._sales__execution_orders", (Equals("Дор. Отправления", "В-СИБ"), JANUARY)
    )


@pytest.mark.parametrize(("form", "params"), [("DownloadForStationForm", STATION), ("DownloadForRailwayForm", RAILWAY)])
def test_both_forms_read_the_inspectors_table_and_make_a_file(form: str, params: str) -> None:
    assert examine(form, params, "a.csv") == ORDERS
    assert find(form).makes_file
    assert find(form).time_limit is None


@pytest.mark.parametrize(("form", "params"), [("DownloadForStationForm", RAILWAY), ("DownloadForRailwayForm", STATION)])
def test_the_conditions_of_one_form_are_not_those_of_the_other(form: str, params: str) -> None:
    with pytest.raises(UserError, match="conditions: нет поля"):
        examine(form, params, "a.csv")


def test_a_sample_says_what_a_form_asks_about() -> None:
    sample = find("DownloadForStationForm").sample
    assert sample is not None
    assert [condition.column for condition in sample().where] == ["Ст. Отправления", "SVOD.Дата отправки"]


# --- what a row can call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "downloadforstationform",
        "DownloadForStationForm ",
        "Station",
        "form",
        "add",
        "load",
        "find",
        "examine",
        "importlib",
        "export",
        "__import__",
        "REGISTER",
        "Processing",
    ],
)
def test_nothing_but_a_registered_name_can_be_called(name: str | None) -> None:
    with pytest.raises(UserError, match="form_name: нет обработки"):
        find(name)


@given(st.text())
def test_the_refusal_of_any_name_is_a_short_line(name: str) -> None:
    with pytest.raises(UserError) as caught:
        find(name + "?" * 200)
    assert str(caught.value).encode()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [None, "", "a.txt", "a", "../a.csv", ".csv", "a\n.csv", "a.csv/"])
def test_a_form_that_makes_a_file_wants_a_good_name_for_it(name: str | None) -> None:
    with pytest.raises(UserError, match="file_to_download"):
        examine("DownloadForStationForm", STATION, name)


@pytest.mark.parametrize("name", ["a.csv", "Б.XLSX"])
def test_the_extension_chooses_the_format_in_any_case(name: str) -> None:
    assert examine("DownloadForStationForm", STATION, name) == ORDERS


def test_conditions_are_looked_at_before_the_job_is_queued() -> None:
    with pytest.raises(UserError, match="нет в календаре"):
        examine("DownloadForStationForm", STATION.replace("2024-01-31", "2024-02-30"), "a.csv")


# --- forms of one's own -----------------------------------------------------------------------------------------------


def test_a_form_is_a_function_with_a_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Wagon(Period):
        number: str

    @processings.form(reads="dwh.wagons", conditions=Wagon, time_limit=60)
    def WagonForm(wanted: Wagon) -> Extract:
        return Extract("dwh.wagons", (Equals("№", wanted.number),))

    entry = find("WagonForm")
    assert (entry.reads, entry.makes_file, entry.time_limit) == ("dwh.wagons", True, 60)
    asked: list[tuple[Any, Extract]] = []
    monkeypatch.setattr(processings, "export", lambda task, extract: asked.append((task, extract)))
    task = types.SimpleNamespace(job=types.SimpleNamespace(params=json.dumps(DAYS | {"number": "7"})))
    entry.run(task)  # type: ignore[arg-type]
    assert asked == [(task, Extract("dwh.wagons", (Equals("№", "7"),)))]
    with pytest.raises(UserError, match="нет поля number"):
        examine("WagonForm", json.dumps(DAYS), "a.csv")


def test_work_without_a_file_takes_any_conditions_and_no_name() -> None:
    @processings.processing("cleaning", time_limit=5)
    def clean(task: Task) -> None:
        """Do nothing."""

    assert examine("cleaning", "null", None) is None
    assert examine("cleaning", None, "../..") is None
    assert (find("cleaning").run, find("cleaning").time_limit) == (clean, 5)


def test_a_name_is_given_once(register: dict[str, Processing]) -> None:
    before = dict(register)
    with pytest.raises(ValueError, match="two processings are called DownloadForStationForm"):
        processings.processing("DownloadForStationForm")(lambda task: None)
    assert register == before
