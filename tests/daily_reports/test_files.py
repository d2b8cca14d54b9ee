"""A day's rows as a file: the same formats and dialect as every other file of the queue."""

from __future__ import annotations

import io
from datetime import date, datetime

import openpyxl
import pytest
from python_calamine import CalamineWorkbook

from integrations.daily_reports.files import content
from integrations.daily_reports.table import Row
from settings import Settings

ROWS = [Row(1, date(2024, 1, 15), 42, 3), Row(2**31 - 1, date(2024, 2, 29), 2**31 - 1, -5)]
NAMES = ["id", "report_at", "order_id", "count_product"]


def test_csv_is_what_a_double_click_opens() -> None:
    text = content(Settings(), ROWS, "csv").decode()
    assert text == (
        "\ufeffid;report_at;order_id;count_product\n1;2024-01-15;42;3\n2147483647;2024-02-29;2147483647;-5\n"
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"csv_delimiter": ",", "csv_bom": False}, "id,report_at,order_id,count_product\n1,2024-01-15,42,3\n"),
        ({"csv_delimiter": "\t", "csv_bom": False}, "id\treport_at\torder_id\tcount_product\n1\t2024-01-15\t42\t3\n"),
    ],
)
def test_the_dialect_is_the_installations(settings: dict[str, object], text: str) -> None:
    assert content(Settings(**settings), ROWS[:1], "csv").decode() == text  # type: ignore[arg-type]


def test_a_number_below_nothing_is_no_formula() -> None:
    assert ";-5\n" in content(Settings(csv_safe_formulas=True), ROWS, "csv").decode()


def test_xlsx_has_real_numbers_and_real_days() -> None:
    file = io.BytesIO(content(Settings(), ROWS, "xlsx"))
    sheet = openpyxl.load_workbook(file).active
    assert sheet is not None
    assert list(sheet.iter_rows(values_only=True)) == [
        tuple(NAMES),
        (1, datetime(2024, 1, 15), 42, 3),
        (2147483647, datetime(2024, 2, 29), 2147483647, -5),
    ]
    assert sheet["B2"].number_format != "General"
    found = CalamineWorkbook.from_filelike(io.BytesIO(file.getvalue())).get_sheet_by_index(0).to_python()
    assert found[1] == [1, date(2024, 1, 15), 42, 3]


def test_without_rows_there_is_a_header_all_the_same() -> None:
    assert content(Settings(csv_bom=False), [], "csv") == (";".join(NAMES) + "\n").encode()
    sheet = openpyxl.load_workbook(io.BytesIO(content(Settings(), [], "xlsx"))).active
    assert sheet is not None
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == [NAMES]


def test_a_long_day_is_whole() -> None:
    rows = [Row(number, date(2024, 1, 15), number, 1) for number in range(30_000)]
    assert content(Settings(), rows, "csv").count(b"\n") == 30_001
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(content(Settings(), rows, "xlsx"))).get_sheet_by_index(0)
    found = sheet.to_python()
    assert (len(found), found[-1][0]) == (30_001, 29_999)
