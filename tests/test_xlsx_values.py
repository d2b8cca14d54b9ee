"""What stands in the cells: values of every kind, as openpyxl, calamine, pandas and LibreOffice read them."""

import io
import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xlsx
from dwh import Column, Kind
from tests.workbooks import NUMBER, TEXT, TEXTS, book, by_calamine, by_libreoffice, by_openpyxl, sheet_xml, wire


def test_texts_survive_to_the_letter() -> None:
    data = book([TEXT], wire([TEXT], [[text] for text in TEXTS]))
    assert [row[0] for row in by_openpyxl(data)[1:]] == TEXTS
    assert [row[0] for row in by_calamine(data)[1:]] == TEXTS


def test_what_unicode_calls_no_character_is_escaped_too() -> None:
    data = book([TEXT], wire([TEXT], [["a\ufffe\uffffb"], ["_x0041\uffff"]]))
    assert [row[0] for row in by_openpyxl(data)[1:]] == ["a\ufffe\uffffb", "_x0041\uffff"]


def test_libreoffice_shows_every_value_without_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 40)
    columns = [
        TEXT,
        NUMBER,
        Column("Цел", "number", "bigint"),
        Column("Д", "date", "date"),
        Column("Дв", "datetime", "timestamp"),
        Column("В", "time", "time"),
        Column("Л", "boolean", "boolean"),
        Column("Нет", "text", "text"),
    ]
    moment = datetime(2024, 2, 29, 23, 59, 58)
    values = [-1.5, 123_456_789_012_345, moment.date(), moment, moment.time(), True, None]
    shown = ["-1.5", "123456789012345", "29.02.2024", "29.02.2024 23:59:58", "23:59:58", "TRUE", ""]
    data = book(columns, wire(columns, [[text, *values] for text in TEXTS]))
    sheets = by_libreoffice(data, tmp_path)
    assert sheets.keys() == {"Лист1", "Лист2"}
    names = [column.name for column in columns]
    assert sheets["Лист1"][0] == names
    assert sheets["Лист2"][0] == names
    rows = sheets["Лист1"][1:] + sheets["Лист2"][1:]
    assert [row[1:] for row in rows] == [shown] * len(TEXTS)
    # It shows CR and CR LF as LF, and drops the mark of byte order.
    plain = [text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "") for text in TEXTS]
    assert [row[0].replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "") for row in rows] == plain


@pytest.mark.parametrize(
    ("kind", "type_", "cells", "values"),
    [
        ("number", "numeric", ["0", "-17", "0.30000000000000004", "1e+20", "-1e-4"], [0, -17, 0.1 + 0.2, 1e20, -1e-4]),
        ("number", "bigint", ["999999999999999", "!1000000000000001"], [999_999_999_999_999, "1000000000000001"]),
        ("number", "numeric", ["!0.1234567890123456789", "!NaN", "!-Infinity", r"!\\N"], [
            "0.1234567890123456789", "NaN", "-Infinity", "\\N"]),
        ("boolean", "boolean", ["1", "0", "!2"], [True, False, "2"]),
        ("date", "date", ["61", "45351", "!1850-01-01", "!infinity"], [
            date(1900, 3, 1), date(2024, 2, 29), "1850-01-01", "infinity"]),
        ("datetime", "timestamp", ["45351.5", "!1850-01-01 00:00:00", "!20000-01-01 <BC>"], [
            datetime(2024, 2, 29, 12), "1850-01-01 00:00:00", "20000-01-01 <BC>"]),
        ("time", "time", ["0.5", "!24:00:00"], [time(12), "24:00:00"]),
    ],
)  # fmt: skip
def test_values_have_their_kind_and_what_no_number_holds_is_text(
    kind: Kind, type_: str, cells: list[str], values: list[Any]
) -> None:
    data = book([Column("c", kind, type_)], "".join(f"{cell}\n" for cell in [*cells, r"\N"]).encode())
    openpyxl_values = [row[0] for row in by_openpyxl(data)[1:]]
    if kind == "date":
        openpyxl_values = [value.date() if isinstance(value, datetime) else value for value in openpyxl_values]
    assert openpyxl_values == [*values, None]
    assert [row[0] for row in by_calamine(data)[1:]] == values  # it leaves out empty rows at the end
    assert [isinstance(value, str) for value in openpyxl_values[:-1]] == [isinstance(value, str) for value in values]


def test_digits_of_numbers_and_microseconds_are_in_the_file_as_the_server_wrote_them() -> None:
    columns = [NUMBER, Column("t", "datetime", "timestamp")]
    data = book(columns, b"0.30000000000000004\t45351.500000011576\n-1.7976931348623157e+308\t0.1234567890123\n")
    xml = sheet_xml(data)
    for digits in ("0.30000000000000004", "45351.500000011576", "-1.7976931348623157e+308"):
        assert f"<v>{digits}</v>" in xml
    assert by_calamine(data)[1][0] == 0.1 + 0.2
    moment = datetime(2024, 2, 29, 12, 0, 0, 1)
    data = book(columns, wire(columns, [[None, moment]]))
    serial = re.search(r'<c s="3"><v>([^<]*)</v>', sheet_xml(data))
    assert serial and round((float(serial[1]) - 45351.5) * 86_400_000_000) == 1


@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_any_rows_survive(data: st.DataObject) -> None:
    char = st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffe\uffff")
    tricky = st.sampled_from(
        ["_x", "_", "0041", "\\", "\\N", "!", "\t", "\n", "\r", " ", "&", "<", "]]>", "\x01", "😀"]
    )
    text = st.none() | st.text(char) | st.lists(tricky | char, max_size=8).map("".join)
    kinds = {
        "text": text,
        "number": st.none() | st.integers(-(10**15) + 1, 10**15 - 1) | st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.none() | st.booleans(),
    }
    columns = [Column(f"c{n}", kind, "") for n, kind in enumerate(data.draw(
        st.lists(st.sampled_from(["text", "number", "boolean"]), min_size=1, max_size=5)))]  # fmt: skip
    rows = data.draw(st.lists(st.tuples(*(kinds[column.kind] for column in columns)).map(list), max_size=12))
    file = book(columns, wire(columns, rows))
    expected = [["" if value is None else value for value in row] for row in rows]
    read = by_calamine(file)[1:]
    # What is empty at the end of the sheet is not there for this reader.
    while expected and expected[-1] == [""] * len(columns) and len(expected) > len(read):
        expected.pop()
    assert [row[: len(columns)] for row in read] == expected


def test_nulls_are_empty_cells_and_empty_texts_are_texts() -> None:
    kinds: list[Kind] = ["text", "number", "boolean", "date", "datetime", "time", "text"]
    columns = [Column(f"c{n}", kind, "") for n, kind in enumerate(kinds)]
    null = "\t".join([r"\N"] * 7) + "\n"
    data = book(columns, (null * 2 + "\t1\t1\t61\t61\t0.5\t\n" + null).encode())
    assert by_openpyxl(data)[1:3] == [[None] * 7] * 2
    rows = sheet_xml(data).split("\n")[3:]
    assert rows[0] == rows[1] == "<row>" + "<c/>" * 7 + "</row>"
    assert rows[2].count('<t xml:space="preserve"></t>') == 2


def test_pandas_reads_types() -> None:
    columns = [TEXT, NUMBER, Column("Дата", "datetime", "timestamp")]
    data = book(columns, wire(columns, [["а", 1.5, datetime(2024, 1, 2, 3, 4, 5)], [None, 2, None]]))
    for engine in ("openpyxl", "calamine"):
        frame = pd.read_excel(io.BytesIO(data), engine=engine)  # type: ignore[call-overload]
        assert frame["Число"].dtype == float
        assert frame["Дата"][0] == pd.Timestamp(2024, 1, 2, 3, 4, 5)
        assert pd.isna(frame["Текст"][1])
