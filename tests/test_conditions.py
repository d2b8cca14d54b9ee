"""Conditions: whatever JSON comes in, it is a dataclass of the right values or an error of the user's."""

from __future__ import annotations

import dataclasses
import datetime
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import conditions
from conditions import LONGEST_TEXT, Period, parse
from db import one_line
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Wanted(Period):
    """What a form of the tests asks for."""

    name: str


GOOD = {"name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-02-29"}


def text(**changes: Any) -> str:
    return json.dumps(GOOD | changes, ensure_ascii=False)


def reason(params: str | None) -> str:
    with pytest.raises(UserError) as caught:
        parse(Wanted, params)
    line = str(caught.value)
    assert line == one_line(caught.value)  # one line, and such as the database can store
    return line


def test_what_a_form_sends_becomes_its_dataclass() -> None:
    assert parse(Wanted, text()) == Wanted(
        name="Тайшет", start_date=datetime.date(2024, 1, 1), finish_date=datetime.date(2024, 2, 29)
    )


def test_one_day_is_a_period() -> None:
    assert parse(Wanted, text(start_date="2024-02-29")).start_date == datetime.date(2024, 2, 29)


def test_what_the_form_sends_besides_is_left_alone() -> None:
    assert parse(Wanted, text(csrf_token="abc", submit=True)) == parse(Wanted, text())


@pytest.mark.parametrize(
    "name", ['Чита "1"', "д'Артаньян", "100%", "№ {0} %s", "a\\b", "🚂", "Ё" * LONGEST_TEXT, " с пробелами "]
)
def test_a_name_is_kept_to_the_letter(name: str) -> None:
    assert parse(Wanted, text(name=name)).name == name
    assert parse(Wanted, json.dumps(GOOD | {"name": name}, ensure_ascii=True)).name == name


@pytest.mark.parametrize("params", [None, "", " ", "{", "{'name': 1}", "nul", '{"name": "a"} x', "[" * 100_000])
def test_what_is_no_json_is_refused(params: str | None) -> None:
    assert reason(params).startswith("conditions: ")


@pytest.mark.parametrize("params", ["null", "[]", "5", '"text"', "true", "NaN", '[["name", "a"]]', "1e999"])
def test_what_is_no_object_is_refused(params: str) -> None:
    assert reason(params).startswith("conditions: нужен объект")


@pytest.mark.parametrize("field", ["name", "start_date", "finish_date"])
def test_a_missing_field_is_named(field: str) -> None:
    assert reason(text(**{field: None})) == f"conditions: нет поля {field}"
    without = {key: value for key, value in GOOD.items() if key != field}
    assert reason(json.dumps(without)) == f"conditions: нет поля {field}"


@pytest.mark.parametrize("value", [1, 1.5, True, False, 0, [], ["a"], {}, {"a": "b"}])
@pytest.mark.parametrize("field", ["name", "start_date"])
def test_a_field_of_another_kind_is_named(field: str, value: object) -> None:
    assert reason(text(**{field: value})) == f"{field}: нужна строка"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "пусто"),
        (" \u00a0", "пусто"),
        ("Ё" * (LONGEST_TEXT + 1), f"{LONGEST_TEXT + 1} символов, допустимо не больше {LONGEST_TEXT}"),
        ("x" * 10_000, "10000 символов"),
        ("'; drop table post; --", "«;» недопустимы"),
        ("a\0b", "управляющие символы"),
        ("a\nb", "управляющие символы"),
        ("a\x7f", "управляющие символы"),
        ("a\ud83d", "половина суррогатной пары"),
        ("\udc00a", "половина суррогатной пары"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, complaint: str) -> None:
    line = reason(json.dumps(GOOD | {"name": name}))
    assert line.startswith("name: ")
    assert complaint in line


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2024-1-1",
        "20240101",
        "2024-01-01T00:00:00",
        "2024-W01-1",
        "01.02.2024",
        "2024-01-01 ",
        "٢٠٢٤-٠١-٠١",
        "-2024-01-01",
        "12024-01-01",
        "today",
        "a\0\ud83d\n",
        "x" * 10_000,
    ],
)
def test_a_date_of_another_look_is_refused(value: str) -> None:
    line = reason(json.dumps(GOOD | {"start_date": value}))
    assert line.startswith("start_date: нужна дата вида 2024-01-31")
    assert len(line) < 200


@pytest.mark.parametrize("value", ["2024-02-30", "2023-02-29", "2024-13-01", "2024-00-10", "0000-01-01", "2024-01-00"])
def test_a_day_that_no_calendar_has_is_refused(value: str) -> None:
    assert reason(text(finish_date=value)) == f"finish_date: дня {value} нет в календаре"


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    assert reason(text(start_date="2024-03-01")) == "finish_date 2024-02-29 раньше, чем start_date 2024-03-01"


def test_an_example_is_of_the_right_kinds() -> None:
    made = conditions.example(Wanted)
    assert isinstance(made.start_date, datetime.date)
    assert parse(Wanted, json.dumps(dataclasses.asdict(made), default=str)) == made


# --- anything at all --------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates().map(str)
    | st.sampled_from(["Тайшет", "2024-01-01", "\ud800", "\0", ";"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
OBJECTS = st.fixed_dictionaries({}, optional={name: SCALARS | VALUES for name in GOOD})


@given(
    st.text()
    | (VALUES | OBJECTS).map(json.dumps)
    | st.tuples(OBJECTS.map(json.dumps), st.integers(0, 100)).map(lambda cut: cut[0][: cut[1]])
)
@example('{"name": ' + "9" * 5000 + "}")
@example('{"name": "a", "start_date": "2024-01-01", "finish_date": ' + "[" * 50_000 + "]" * 50_000 + "}")
@example('{"__class__": "a", "name": {"__proto__": null}}')
def test_any_text_is_the_dataclass_or_an_error_of_the_users_and_nothing_else(params: str) -> None:
    with suppress(UserError):
        made = parse(Wanted, params)
        assert type(made.start_date) is type(made.finish_date) is datetime.date
        assert made.start_date <= made.finish_date
        assert made.name.strip()
        assert made.name.encode()


@given(VALUES | OBJECTS)
def test_every_refusal_is_a_line_that_can_be_stored_and_shown(values: Any) -> None:
    try:
        parse(Wanted, json.dumps(values))
    except UserError as error:
        assert str(error) == one_line(error)
        assert len(str(error)) < 300


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=";\x7f"), min_size=1), st.dates(), st.dates()
)
def test_what_is_right_is_never_refused(name: str, one: datetime.date, other: datetime.date) -> None:
    start, finish = sorted((one, other))
    good = name.strip() and len(name) <= LONGEST_TEXT and min(name) >= " "
    params = json.dumps({"name": name, "start_date": str(start), "finish_date": str(finish)})
    if good:
        assert parse(Wanted, params) == Wanted(name=name, start_date=start, finish_date=finish)
    else:
        reason(params)
