"""Python values in the "cells" form and in CSV."""

import random
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import CUT_MARK, MAX_CELL, cell_encoder, csv_encoder, cut, shorten_cells, text_of
from csvfile import CsvDialect
from dwh import Column, Kind

LIMIT = MAX_CELL
DAY = 86_400_000_000  # microseconds


def cell(kind: Kind, value: Any, type_: str = "") -> str:
    return cell_encoder(Column("c", kind, type_))(value)


def csv(kind: Kind, value: Any, type_: str = "", dialect: CsvDialect | None = None) -> str:
    return csv_encoder(Column("c", kind, type_), dialect or CsvDialect(safe_formulas=True))(value)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize("kind", ["text", "number", "boolean", "date", "datetime", "time"])
def test_null_is_null_in_every_kind(kind: Kind) -> None:
    assert cell(kind, None) == "\\N"
    assert csv(kind, None) == ""


def test_text_is_escaped_as_copy_does() -> None:
    assert cell("text", "a\\b\t\n\r\b\f\vЯ😀") == r"a\\b\t\n\r\b\f\vЯ😀"
    assert cell("text", "\\N") == r"\\N"
    assert cell("text", "!") == "!"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-999_999_999_999_999, "-999999999999999"),
        (10**15, "!1000000000000000"),
        (-(2**63), "!-9223372036854775808"),
        (0.30000000000000004, "0.30000000000000004"),
        (1e20, "1e+20"),
        (float("nan"), "!NaN"),
        (float("-inf"), "!-Infinity"),
        (Decimal("12.50"), "12.50"),
        (Decimal("0E-10"), "0.0000000000"),
        (Decimal("123456789012345"), "123456789012345"),
        (Decimal("1234567890123456"), "!1234567890123456"),
        (Decimal("1E+20"), "100000000000000000000"),
        (Decimal("1E+400"), "!1" + "0" * 400),
        (Decimal("1E-400"), "!0." + "0" * 399 + "1"),
        (Decimal("0.30000000000000004"), "0.30000000000000004"),
        (Decimal("0.30000000000000003"), "!0.30000000000000003"),
        (Decimal("NaN"), "!NaN"),
        ("семь", "!семь"),
        (True, "1"),
    ],
)
def test_a_number_is_what_a_double_gives_back_and_else_its_text(value: Any, expected: str) -> None:
    assert cell("number", value) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("boolean", True, "1"),
        ("boolean", 0, "0"),
        ("boolean", 2, "!2"),
        ("date", date(1900, 3, 1), "61"),
        ("date", date(1900, 2, 28), "!1900-02-28"),
        ("date", date(9999, 12, 31), "2958465"),
        ("date", "2024-01-31", "45322"),
        ("date", "31.01.2024", "!31.01.2024"),
        ("datetime", datetime(2024, 1, 31, 12), "45322.5"),
        ("datetime", "2024-01-31 12:00:00.000000", "45322.5"),
        ("datetime", "2024-01-31", "45322"),
        ("datetime", datetime(1899, 12, 31, 12), "!1899-12-31 12:00:00"),
        ("datetime", datetime(9999, 12, 31, 23, 59, 59), "2958465.999988426"),
        ("datetime", datetime.max, "!9999-12-31 23:59:59.999999"),
        ("datetime", datetime(2024, 1, 31, 12, tzinfo=timezone(timedelta(hours=7))), "45322.5"),
        ("datetime", "вчера", "!вчера"),
        ("time", time(18), "0.75"),
        ("time", timedelta(hours=6), "0.25"),
        ("time", timedelta(hours=24), "!1 day"),
        ("time", "06:00", "0.25"),
        ("time", time(6, tzinfo=UTC), "!06:00:00+00"),
    ],
)
def test_dates_are_serial_numbers_and_else_their_text(kind: Kind, value: Any, expected: str) -> None:
    assert cell(kind, value) == expected


def test_the_serial_of_a_timestamp_gives_back_its_microsecond() -> None:
    generator = random.Random(7)  # noqa: S311 -- nothing secret
    first, coarse, last = datetime(1900, 3, 1), datetime(2079, 6, 5), datetime(9999, 12, 31, 23, 59, 59, 999_999)
    epoch = datetime(1899, 12, 30)
    for _ in range(20_000):
        moment = first + timedelta(microseconds=generator.randrange((coarse - first) // timedelta(microseconds=1)))
        days, part = divmod(float(cell("datetime", moment)), 1)
        assert epoch + timedelta(days=days, microseconds=round(part * DAY)) == moment
    for _ in range(20_000):
        moment = coarse + timedelta(milliseconds=generator.randrange((last - coarse) // timedelta(milliseconds=1)))
        days, part = divmod(float(cell("datetime", moment)), 1)
        assert epoch + timedelta(days=days, milliseconds=round(part * DAY / 1000)) == moment
        if moment.microsecond % 1000 == 0:
            odd = moment + timedelta(microseconds=generator.randrange(1, 1000))
            assert cell("datetime", odd) == "!" + text_of(odd)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "t"),
        (1.0, "1"),
        (-0.0, "-0"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (123456789012345.0, "123456789012345"),
        (1e15, "1e+15"),
        (-1234567890123456.0, "-1.234567890123456e+15"),
        (9007199254740993.0, "9.007199254740992e+15"),
        (1e16, "1e+16"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-Infinity"), "-Infinity"),
        (datetime(2024, 1, 2, 3, 4, 5, 120_000), "2024-01-02 03:04:05.12"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02 00:00:00+00"),
        (datetime(2024, 1, 2, tzinfo=timezone(-timedelta(hours=3, minutes=30))), "2024-01-02 00:00:00-03:30"),
        (
            datetime(1890, 1, 2, tzinfo=timezone(timedelta(hours=2, minutes=30, seconds=17))),
            "1890-01-02 00:00:00+02:30:17",
        ),
        (date(99, 1, 2), "0099-01-02"),
        (time(1, 2, 3, 400_000), "01:02:03.4"),
        (timedelta(0), "00:00:00"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=-1), "-1 days"),
        (timedelta(days=2, hours=3, microseconds=500_000), "2 days 03:00:00.5"),
        (-timedelta(hours=1, minutes=5), "-01:05:00"),
        (b"\x00\xff", "\\x00ff"),
        (memoryview(b"a"), "\\x61"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({"ключ": [1, Decimal("1.5")]}, '{"ключ": [1, "1.5"]}'),
        ([1, None], "[1, null]"),
    ],
)
def test_values_are_written_as_postgresql_writes_them(value: Any, expected: str) -> None:
    assert text_of(value) == expected


def test_a_subclass_is_written_as_what_it_is() -> None:
    class Text(str):
        __slots__ = ()

    class Stamp(datetime):
        pass

    assert text_of(Text("a")) == "a"
    assert text_of(Stamp(2024, 1, 2)) == "2024-01-02 00:00:00"


def test_csv_quotes_and_guards_text_only() -> None:
    assert csv("text", "=1;2") == '"\'=1;2"'
    assert csv("text", "=1", dialect=CsvDialect(safe_formulas=False)) == "=1"
    assert csv("number", -5) == "-5"
    assert csv("text", -5) == "-5"
    assert csv("text", "") == '""'
    assert csv("boolean", 1) == "t"


def test_a_decimal_that_came_as_a_double_gets_its_places_back() -> None:
    assert csv("number", 1234.5, "NUMERIC(12, 2)") == "1234.50"
    assert csv("number", 0.1, "decimal(10,4)") == "0.1000"
    assert csv("number", 1234.5, "REAL") == "1234.5"


@given(st.text(st.sampled_from("aЯ€😀"), max_size=50), st.integers(LIMIT - 60, LIMIT + 60))
def test_a_text_is_cut_to_utf16_units_and_never_inside_a_character(tail: str, length: int) -> None:
    text = "x" * length + tail
    short = cut(text)
    if units(text) <= LIMIT:
        assert short == text
    else:
        assert LIMIT - 1 <= units(short) <= LIMIT
        assert short.endswith(CUT_MARK)
        assert text.startswith(short.removesuffix(CUT_MARK))


def test_emoji_count_twice() -> None:
    assert cut("😀" * (LIMIT // 2)) == "😀" * (LIMIT // 2)
    short = cut("😀" * (LIMIT // 2 + 1))
    assert short == "😀" * ((LIMIT - len(CUT_MARK)) // 2) + CUT_MARK


def test_only_the_long_fields_of_a_row_are_cut() -> None:
    long = "\t" * LIMIT + "\\конец"
    encoded = cell("text", "\t" * LIMIT + "\\конец").encode()
    fields = ["\\N", "a\\\\b", "!" + "9" * (LIMIT + 5)]
    raw = "\t".join(fields).encode() + b"\t" + b"\\t" * LIMIT + "\\\\конец".encode() + b"\n"
    row = shorten_cells(raw)
    assert row.endswith(b"\n")
    parts = row[:-1].split(b"\t")
    assert parts[:2] == [b"\\N", b"a\\\\b"]
    assert units(parts[2].decode()) == LIMIT
    assert parts[3] == encoded
    assert units(cut(long)) == LIMIT


def test_a_float_of_numpy_is_written_as_any_other() -> None:
    assert (text_of(np.float64(2.0)), cell("number", np.float64(0.1)), csv("number", np.float64(1e22))) == (
        *("2", "0.1"),
        "1e+22",
    )
