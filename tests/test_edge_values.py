"""Every common column type with its edge values, from the database to the file, read back by others' programs."""

from __future__ import annotations

import csv
import datetime
import math
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import python_calamine
from openpyxl.utils.escape import unescape

from dwh import Extract
from exports import export
from tests.database import Queries
from tests.exporting import Bench, bench
from tests.warehouses import psql

__all__ = ["bench"]

LONG = "я" * 40_000
TEXT = "text, с №, точкой. и %"
CUT_MARK = "… [обрезано]"

#: Column, type, values that survive as themselves, values that a cell can hold only as text.
TYPES: list[tuple[str, str, list[Any], list[Any]]] = [
    ("smallint", "smallint", [-32768, 0, 32767], []),
    ("integer", "integer", [-(2**31), 2**31 - 1], []),
    ("bigint", "bigint", [10**15 - 1, -(10**15) + 1], [10**15 + 1, 2**63 - 1, -(2**63)]),
    ("numeric(12,2)", "numeric(12,2)", [Decimal("-9999999999.99"), Decimal("0.10")], []),
    (
        "numeric",
        "numeric",
        [Decimal("0.1"), Decimal("123456789.012345"), Decimal("1e20")],
        [Decimal("12345678901234567890.123"), Decimal("0.12345678901234567891"), Decimal("NaN")],
    ),
    ("real", "real", [0.5, -1.25], [math.nan, math.inf]),
    ("double", "double precision", [0.30000000000000004, 1e-300, -1.7976931348623157e308], [math.nan, -math.inf]),
    ("boolean", "boolean", [True, False], []),
    ("date", "date", [datetime.date(1900, 3, 1), datetime.date(9999, 12, 31)], [datetime.date(1850, 5, 17)]),
    (
        "timestamp",
        "timestamp",
        [datetime.datetime(2024, 2, 29, 23, 59, 59), datetime.datetime(2024, 1, 1, 12, 0, 0, 123457)],
        [datetime.datetime(1812, 9, 7, 5, 30)],
    ),
    ("time", "time", [datetime.time(0, 0), datetime.time(23, 59, 58)], []),
    (
        TEXT,
        "text",
        [
            "=1+1",
            "+7 (999)",
            "-",
            "@имя",
            "_x0041_",
            "a\tb",
            "две\nстроки",
            'кавычка " и ;',
            " пробелы по краям ",
            "<&>]]>",
            "\\N",
            "\\.",
            "!восклицание",
            "😀",
            "0123",
            "строка\rс возвратом",
            "управляющие \x01\x1f символы",
        ],
        [],
    ),
    ("varchar", "varchar(20)", ["NULL", "null"], []),
    ("char", "char(5)", ["аб   "], []),
    ("uuid", "uuid", [], ["0190e6b6-0000-7000-8000-000000000000"]),
    ("array", "integer[]", [], ["{1,2,NULL}"]),
    ("json", "jsonb", [], ['{"a": "б"}']),
    ("interval", "interval", [], ["1 day 02:00:00"]),
    ("bytea", "bytea", [], ["\\x00ff"]),
]


@pytest.fixture
def edge(bench: Bench, sql: Queries) -> Bench:
    """A table `edge` with a column for every type and a row for every value, the last row nothing but nulls."""
    names = ", ".join(f'"{name}" {kind}' for name, kind, _, _ in TYPES)
    sql(f"CREATE TABLE edge (rownumber bigint PRIMARY KEY, {names}, long text)")
    lists = [[*good, *text] for _, _, good, text in TYPES] + [[LONG]]
    for number in range(max(map(len, lists)) + 1):
        values = [str(every[number]) if number < len(every) else None for every in lists]
        sql(f"INSERT INTO edge VALUES (%s{', %s' * len(values)})", number + 1, *values)
    return bench


def export_as(bench: Bench, name: str) -> Path:
    bench.submit(name)
    job = bench.claim()
    export(bench.task(job), Extract("edge", ()))
    bench.finish(job)
    return bench.file(name)


def shown_as(sql: Queries, column: str) -> list[str]:
    """The server's own text of the column's values."""
    return [row[0] for row in sql(f'SELECT "{column}"::text FROM edge ORDER BY rownumber')]


def same(read: Any, wanted: Any) -> bool:
    """Whether a value read from a cell is the value that was in the database, as a spreadsheet knows it."""
    if isinstance(wanted, bool):
        return read is wanted
    if isinstance(wanted, int | float | Decimal):
        return not isinstance(read, str) and float(read) == float(wanted)
    if isinstance(wanted, datetime.datetime):
        return abs(read - wanted) < datetime.timedelta(milliseconds=1)  # readers round a serial number
    if isinstance(wanted, datetime.date):
        return (read.date() if isinstance(read, datetime.datetime) else read) == wanted
    return bool(read == wanted)


def check(sheet: list[list[Any]], sql: Queries) -> None:
    assert sheet[0] == [name for name, *_ in TYPES] + ["long"]
    for place, (name, _, good, text) in enumerate(TYPES):
        column = [row[place] for row in sheet[1:]]
        for read, wanted in zip(column, good, strict=False):
            assert same(read, wanted), f"{name}: {wanted!r} came as {read!r}"
        shown = shown_as(sql, name)
        for number in range(len(good), len(good) + len(text)):
            assert column[number] == shown[number], f"{name}: {shown[number]!r} came as {column[number]!r}"
        assert all(value in {None, ""} for value in column[len(good) + len(text) :])
    long = sheet[1][-1]
    assert len(long) == 32_767
    assert long == LONG[: 32_767 - len(CUT_MARK)] + CUT_MARK


def test_csv_equals_what_psql_copy_writes(edge: Bench) -> None:
    edge.settings = edge.settings.model_copy(update={"csv_safe_formulas": False, "csv_bom": False})
    content = export_as(edge, "a.csv").read_bytes()
    names = ", ".join(f'"{name}"' for name, *_ in TYPES)
    query = f"SELECT {names}, long FROM edge ORDER BY rownumber"
    assert content == psql(edge.conninfo, query)


def test_csv_is_read_back_by_others(edge: Bench, sql: Queries) -> None:
    edge.settings = edge.settings.model_copy(update={"csv_safe_formulas": True})
    path = export_as(edge, "a.csv")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    for place, (name, *_) in enumerate(TYPES):
        read = [row[place] for row in rows[1:]]
        shown = [value or "" for value in shown_as(sql, name)]
        if name in {"boolean", "char"}:
            continue  # the server's cast to text differs from what it writes: true and t, blanks at the end
        guarded = [
            "'" + value if name.startswith("text") and value[:1] in set("=+-@\t\r") else value for value in shown
        ]
        assert read == guarded, name


def test_xlsx_equals_the_querys_values_for_openpyxl(edge: Bench, sql: Queries) -> None:
    sheet = openpyxl.load_workbook(export_as(edge, "a.xlsx")).active
    assert sheet is not None
    rows = [
        [unescape(cell.value) if isinstance(cell.value, str) else cell.value for cell in row]
        for row in sheet.iter_rows()
    ]
    check(rows, sql)
    assert sheet.freeze_panes == "A2"
    assert all(cell.font.b for cell in sheet[1])
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)


def test_xlsx_equals_the_querys_values_for_calamine(edge: Bench, sql: Queries) -> None:
    workbook = python_calamine.load_workbook(export_as(edge, "a.xlsx"))
    check(workbook.get_sheet_by_index(0).to_python(), sql)


def test_libreoffice_opens_the_file_without_complaint(edge: Bench, tmp_path: Path) -> None:
    path = export_as(edge, "a.xlsx")
    done = subprocess.run(
        [
            *("soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless"),
            *("--convert-to", "csv:Text - txt - csv (StarCalc):59,34,76,1,,0,false,true,false"),
            *("--outdir", str(tmp_path), str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "Error" not in done.stdout + done.stderr
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    assert rows[0] == [name for name, *_ in TYPES] + ["long"]
    text = [name for name, *_ in TYPES].index(TEXT)
    assert [row[text] for row in rows[1:5]] == ["=1+1", "+7 (999)", "-", "@имя"]
