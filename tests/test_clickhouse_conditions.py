"""Conditions in ClickHouse's SQL: what they select in Debian's server and today's dialect, and what is never sent."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest

from clickhouse_conditions import condition_terms
from dwh import Condition, During, Equals, Extract
from dwh_clickhouse import ClickHouseWarehouse
from errors import UserError
from faults.clickhouse import Server, Today
from tests.clickhouse_fixtures import clickhouse, today, todays, warehouse
from tests.warehouses import PLAIN

__all__ = ["clickhouse", "today", "todays", "warehouse"]  # fixtures


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (Equals("Ст. 100 % `\\", "'; DROP TABLE t; -- %s \\' \t\0"), 1),
        (Equals("Ст. 100 % `\\", "нет"), 0),
        (Equals("n", "5"), 1),
        (Equals("n", -5), 0),
        (Equals("big", 2**64 - 1), 1),
        (Equals("real", "0.1"), 1),
        (Equals("sum", "1.5"), 1),
        (Equals("sum", "1.555"), 0),
        (Equals("code", "00000000-0000-0000-0000-000000000001"), 1),
        (Equals("colour", "=красный"), 1),
        (Equals("colour", "белый"), 0),
        (Equals("low", "а"), 1),
        (During("day", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("at", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("zoned", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("text", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("text", date(2024, 3, 1), date.max), 1),
        (During("day", date.min, date.max), 4),
        (During("at", date(1900, 1, 1), date(1960, 1, 1)), 0),
        (During("day", date(2120, 1, 1), date(2149, 1, 1)), 0),
        (During("at", date(2200, 1, 1), date.max), 0),
    ],
)
@pytest.mark.parametrize("where", ["warehouse", "todays"])
def test_conditions_select_what_they_say(  # noqa: PLR0913, PLR0917 -- fixtures
    request: pytest.FixtureRequest, clickhouse: Server, today: Today, where: str, condition: Condition, rows: int
) -> None:
    asked: ClickHouseWarehouse = request.getfixturevalue(where)
    execute = clickhouse.run if where == "warehouse" else today.execute
    execute("DROP TABLE IF EXISTS conditions")
    execute(
        "CREATE TABLE conditions (rownumber UInt32, `Ст. 100 % \\`\\\\` String, n Int32, big UInt64, real Float32,"
        " sum Decimal(12, 2), code UUID, colour Enum8('=красный' = 1, 'синий' = 2), low Nullable(String),"
        " day Nullable(Date), at DateTime, zoned DateTime('Europe/Moscow'), text String)"
        " ENGINE = MergeTree ORDER BY rownumber"
    )
    moments = ["2024-01-30 23:59:59", "2024-01-31 00:00:00", "2024-02-29 23:59:59", "2024-03-01 00:00:00"]
    for number, moment in enumerate(moments, 1):
        values = "'\\'; DROP TABLE t; -- %s \\\\\\' \\t\\0', 5, 18446744073709551615, toFloat32('0.1')"
        values += ", toDecimal64('1.50', 2)"
        values += ", toUUID('00000000-0000-0000-0000-000000000001'), '=красный', 'а'"
        if number > 1:
            values = "'', 0, 0, 0, toDecimal64('0', 2), toUUID('00000000-0000-0000-0000-000000000002'), 'синий', NULL"
        execute(
            f"INSERT INTO conditions SELECT {number}, {values}, toDate('{moment[:10]}'), toDateTime('{moment}'),"
            f" toDateTime('{moment}', 'Europe/Moscow'), '{moment}'"
        )
    assert asked.count(Extract("conditions", (condition,))) == rows
    file = io.BytesIO()
    page = asked.csv_page(Extract("conditions", (condition,)), asked.columns("conditions"), 0, 9, PLAIN, file.write)
    assert page.rows == file.getvalue().count(b"\n") == rows


def terms(condition: Condition, type_: str) -> tuple[list[str], list[Any]]:
    """The condition's terms, and the values that the driver binds."""
    values: dict[str, Any] = {}
    return condition_terms(condition, type_, values), list(values.values())


# --- equal to ---------------------------------------------------------------------------------------------------------


def test_no_value_stands_in_the_statement() -> None:
    said, values = terms(Equals("a", "'; DROP TABLE t"), "String")
    assert said == ["`a` = %(p0)s"]
    assert values == ["'; DROP TABLE t"]


def test_parameters_of_several_conditions_have_names_of_their_own() -> None:
    values: dict[str, Any] = {}
    first = condition_terms(Equals("a", "1"), "String", values)
    second = condition_terms(Equals("b", "2"), "String", values)
    assert first + second == ["`a` = %(p0)s", "`b` = %(p1)s"]
    assert values == {"p0": "1", "p1": "2"}


def test_a_percent_sign_in_a_columns_name_is_no_parameter() -> None:
    said, values = terms(Equals("Сумма, %s", "1"), "String")
    assert [term % {f"p{n}": value for n, value in enumerate(values)} for term in said] == ["`Сумма, %s` = 1"]


@pytest.mark.parametrize(
    ("type_", "value", "bound"),
    [
        ("Int32", " 5 ", 5),
        ("Nullable(UInt64)", "18446744073709551615", 18446744073709551615),
        ("Float64", "1e2", "100.0"),
        ("Decimal(12, 2)", "1.50", "1.50"),
        ("Decimal(12, 2)", "1e3", "1000"),
        ("Bool", "True", 1),
        ("Bool", "f", 0),
        ("FixedString(4)", " а ", " а "),
        ("Enum8('a' = 1)", "a", "a"),
        ("Array(Int32)", "[1]", "[1]"),
    ],
)
def test_a_value_is_compared_as_its_columns_type_does(type_: str, value: str, bound: object) -> None:
    _, [sent] = terms(Equals("a", value), type_)
    assert (sent, type(sent)) == (bound, type(bound))


@pytest.mark.parametrize("value", ["1.555", "1e40", "NaN", "Infinity", "-1e37"])
def test_a_number_that_the_column_cannot_hold_equals_none_of_its_rows(value: str) -> None:
    assert terms(Equals("a", value), "Decimal(12, 2)") == (["0"], [])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("Int32", "5.0"),
        ("Int32", ""),
        ("Nullable(Float32)", "много"),
        ("Decimal(12, 2)", "1,5"),
        ("Bool", "да"),
    ],
)
def test_a_value_of_another_kind_is_the_users_mistake(type_: str, value: str) -> None:
    with pytest.raises(UserError, match=f"«{value}»"):
        terms(Equals("a", value), type_)


def test_a_complaint_shows_no_more_than_the_values_beginning() -> None:
    with pytest.raises(UserError) as told:
        terms(Equals("a", "я" * 10_000), "Int32")
    assert "я" * 40 + "»" in str(told.value)
    assert len(str(told.value)) < 120


# --- during -----------------------------------------------------------------------------------------------------------


def test_the_last_day_is_included_whole() -> None:
    said, values = terms(During("a", date(2024, 1, 31), date(2024, 2, 29)), "DateTime('Europe/Moscow')")
    assert said == [
        "isNotNull(`a`)",
        "`a` >= toDateTime(%(p0)s, 'Europe/Moscow')",
        "`a` < toDateTime(%(p1)s, 'Europe/Moscow')",
    ]
    assert values == ["2024-01-31 00:00:00", "2024-03-01 00:00:00"]


@pytest.mark.parametrize("type_", ["Date", "Date32", "DateTime", "DateTime64(3)"])
def test_days_that_a_type_cannot_hold_are_not_sent(type_: str) -> None:
    assert terms(During("a", date.min, date.max), type_) == (["isNotNull(`a`)"], [])
    assert terms(During("a", date(1800, 1, 1), date(1850, 1, 1)), type_) == (["0"], [])
    assert terms(During("a", date(2300, 1, 1), date.max), type_) == (["0"], [])


def test_days_in_a_column_of_text_are_compared_as_text_to_the_end_of_the_calendar() -> None:
    assert terms(During("a", date(2024, 1, 1), date(2024, 12, 31)), "String")[1] == ["2024-01-01", "2025-01-01"]
    assert terms(During("a", date(2024, 1, 1), date.max), "String") == (["`a` >= %(p0)s"], ["2024-01-01"])


def test_a_moment_is_given_with_its_precision_and_zone() -> None:
    said, _ = terms(During("a", date(2024, 1, 1), date.max), "Nullable(DateTime64(3, 'Asia/Irkutsk'))")
    assert said == ["isNotNull(`a`)", "`a` >= toDateTime64(%(p0)s, 3, 'Asia/Irkutsk')"]
