"""Workbooks: their sheets and headers; continued after every page; flat in memory; what is refused."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet
from python_calamine import CalamineWorkbook

import xlsx
from dwh import Column
from errors import StorageError, UserError, WarehouseError
from tests import ROOT
from tests.workbooks import (
    NUMBER,
    TEXT,
    TEXTS,
    Memory,
    book,
    by_calamine,
    by_libreoffice,
    by_openpyxl,
    sheet_xml,
    threads,
    unescaped,
    wire,
)
from xlsx import XlsxWriter


def test_every_sheet_has_a_bold_frozen_header_with_a_filter() -> None:
    columns = [Column(name, "text", "text") for name in ("№ п/п", "a\tb\nc\r\x01", "_x0041_", "\\N", " ", "<&>")]
    data = book(columns, b"1\t2\t3\t4\t5\t6\n")
    worksheet = openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]
    assert isinstance(worksheet, Worksheet)
    assert worksheet.title == "Лист1"
    assert [unescaped(cell.value) for cell in worksheet[1]] == [column.name for column in columns]
    assert all(cell.font.b for cell in worksheet[1]) and not any(cell.font.b for cell in worksheet[2])
    assert worksheet.freeze_panes == "A2"
    assert worksheet.auto_filter.ref == "A1:F2"


def test_the_name_of_a_column_is_cut_to_what_a_cell_may_hold() -> None:
    data = book([Column("я" * 40_000, "text", "text")], b"1\n")
    name = by_calamine(data)[0][0]
    assert len(name) == 32_767 and name.endswith("… [обрезано]")


def test_widths_follow_names_kinds_and_values() -> None:
    columns = [
        Column("id", "number", "int"),
        Column("Ст. назначения", "text", "text"),
        Column("Станция", "text", "text"),
        Column("Примечание", "text", "text"),
        Column("д", "date", "date"),
        Column("вд", "datetime", "timestamp"),
    ]
    data = book(columns, f"1\t\\N\tНаходка-Восточная\t{'я' * 500}\t45000\t45000.123456789\n".encode())
    worksheet = openpyxl.load_workbook(io.BytesIO(data)).worksheets[0]
    widths = [worksheet.column_dimensions[letter].width for letter in "ABCDEF"]
    assert widths == [8, 17, 18, 60, 11, 20]


def test_no_rows_make_a_header_only(tmp_path: Path) -> None:
    data = book([TEXT, NUMBER], b"")
    assert by_openpyxl(data) == by_calamine(data) == [["Текст", "Число"]]
    assert by_libreoffice(data, tmp_path) == {"Лист1": [["Текст", "Число"]]}


def test_the_first_row_that_does_not_fit_begins_the_next_sheet_with_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", 4)
    for rows, sheets in ((3, [3]), (4, [3, 1]), (10, [3, 3, 3, 1])):
        data = book([NUMBER], "".join(f"{row}\n" for row in range(rows)).encode())
        read = [by_openpyxl(data, sheet) for sheet in range(len(sheets))]
        assert openpyxl.load_workbook(io.BytesIO(data)).sheetnames == [f"Лист{n + 1}" for n in range(len(sheets))]
        assert all(sheet[0] == ["Число"] for sheet in read)
        assert [row[0] for sheet in read for row in sheet[1:]] == list(range(rows))
        assert [len(sheet) - 1 for sheet in read] == sheets


def test_a_sheet_too_big_for_an_archive_s_entry_is_continued_on_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "SHEET_BYTES", 150_000)
    monkeypatch.setattr(xlsx, "BLOCK", 10_000)
    texts = [f"{row}" + "я" * 100 for row in range(2_000)]
    data = book([TEXT], wire([TEXT], [[text] for text in texts]))
    sheets = CalamineWorkbook.from_filelike(io.BytesIO(data)).sheet_names
    assert len(sheets) == 4
    assert [row[0] for sheet in range(4) for row in by_calamine(data, sheet)[1:]] == texts
    assert all(len(sheet_xml(data, sheet).encode()) < 151_000 for sheet in range(1, 5))


def test_rows_beyond_what_a_sheet_of_excel_holds_go_onto_the_next() -> None:
    rows = 1_048_576 + 5
    part = Memory()
    writer = XlsxWriter(part, [NUMBER, TEXT])
    writer.write(b"".join(b"%d\tt%d\n" % (row, row) for row in range(rows)))
    writer.finish()
    writer.abort()
    assert writer.rows == rows
    file = CalamineWorkbook.from_filelike(io.BytesIO(part.data))
    first, second = (file.get_sheet_by_index(sheet).to_python() for sheet in range(2))
    assert len(first) == 1_048_576
    assert first[0] == second[0] == ["Число", "Текст"]
    assert first[-1] == [1_048_574.0, "t1048574"]
    assert [row[1] for row in second[1:]] == [f"t{row}" for row in range(1_048_575, rows)]


def pages_of(columns: list[Column]) -> list[bytes]:
    return [
        wire(columns, [[f"{text} {page}" if text else None, row] for row, text in enumerate(TEXTS[: page * 9])])
        for page in (0, 2, 5, 0, 3)
    ]


@pytest.mark.parametrize("sheet_rows", [30, 1_048_576])
def test_a_file_continued_after_any_page_is_the_same_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, sheet_rows: int
) -> None:
    monkeypatch.setattr(xlsx, "SHEET_ROWS", sheet_rows)
    monkeypatch.setattr(xlsx, "BLOCK", 1_000)
    columns = [TEXT, NUMBER]
    pages = pages_of(columns)
    whole = book(columns, *pages)
    for done in range(len(pages) + 1):
        part = Memory()
        writer = XlsxWriter(part, columns)
        state = None
        for page in pages[:done]:
            writer.write(page)
            state = json.loads(json.dumps(writer.end_page()))
        for page in pages[done:]:
            writer.write(page)  # half a page that nobody recorded
        writer.abort()
        size = state["zip"]["position"] if state else 0
        part = Memory(bytes(part.data[:size]))
        writer = XlsxWriter(part, columns, state)
        for page in pages[done:]:
            writer.write(page)
            writer.end_page()
        writer.finish()
        writer.abort()
        assert part.data == whole, done
        assert writer.rows == sum(page.count(b"\n") for page in pages)
    assert not threads()


def test_rows_may_come_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "BLOCK", 100)
    rows = [[f"row {row}", row] for row in range(200)]
    page = wire([TEXT, NUMBER], rows)
    for size in (1, 7, 99, 250, len(page)):
        part = Memory()
        writer = XlsxWriter(part, [TEXT, NUMBER])
        for start in range(0, len(page), size):
            writer.write(page[start : start + size])
        writer.finish()
        writer.abort()
        assert by_calamine(bytes(part.data))[1:] == rows


@pytest.mark.parametrize("count", [0, 16_385])
def test_a_table_that_no_sheet_holds_is_the_request_s_fault(count: int) -> None:
    with pytest.raises(UserError, match="столбцов: "):
        XlsxWriter(Memory(), [TEXT] * count)


def test_a_sheet_has_as_many_columns_as_excel_can_read() -> None:
    columns = [Column(f"c{n}", "number", "int") for n in range(16_384)]
    data = book(columns, b"\t".join(b"%d" % n for n in range(16_384)) + b"\n")
    assert by_calamine(data)[1] == list(range(16_384))
    assert 'ref="A1:XFD2"' in sheet_xml(data)


def test_a_row_with_a_cell_too_few_or_without_its_end_is_the_warehouse_s_fault() -> None:
    for page, words in ((b"1\n", "1 rows came with 1 cells instead of 2"), (b"1\t2\n3", "without its end")):
        writer = XlsxWriter(Memory(), [TEXT, NUMBER])
        writer.write(page)
        with pytest.raises(WarehouseError, match=words):
            writer.end_page()
        writer.abort()
    assert not threads()


@pytest.mark.parametrize("call", ["write", "end_page", "finish"])
def test_a_full_disk_surfaces_in_the_next_calls_and_abort_leaves_no_thread(call: str) -> None:
    class FullDisk(Memory):
        def write(self, data: bytes) -> int:
            if self.size + len(data) > 3_000:
                raise StorageError("no space left on device")
            return super().write(data)

    part = FullDisk()
    writer = XlsxWriter(part, [TEXT])
    rows = b"".join(os.urandom(1_000).hex().encode() + b"\n" for _ in range(300))
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: [writer.write(rows) for _ in range(3)],
        "end_page": lambda: (writer.write(rows), writer.end_page()),
        "finish": lambda: (writer.write(rows), writer.finish()),
    }
    with pytest.raises(StorageError, match="no space left"):
        calls[call]()
    assert part.size <= 3_000
    writer.abort()
    writer.abort()
    assert not threads()
    with pytest.raises(ValueError, match="closed"):
        writer.write(rows)


def test_seconds_are_known_by_step() -> None:
    part = Memory()
    writer = XlsxWriter(part, [TEXT])
    writer.write(b"abc\n" * 100_000)
    writer.end_page()
    assert writer.seconds.keys() == {"format", "compress", "write"}
    assert all(seconds > 0 for seconds in writer.seconds.values())
    assert writer.INLINE in writer.seconds
    writer.abort()


def test_memory_is_flat() -> None:
    program = """
import psutil
from dwh import Column
from xlsx import XlsxWriter

class Part:
    size = 0
    def write(self, data):
        self.size += len(data)
        return len(data)

columns = [Column(f"c{n}", ("text", "number")[n % 2], "") for n in range(30)]
row = ("\\t".join(["Текст с примечанием", "123.45"] * 15) + "\\n").encode()
writer = XlsxWriter(Part(), columns)
for page in range(10):
    for _ in range(20_000):
        writer.write(row)
    writer.end_page()
    print(psutil.Process().memory_info().rss >> 10)
writer.finish()
writer.abort()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=110
    )
    sizes = [int(line) for line in done.stdout.split()]  # KiB, after 20,000 … 200,000 rows
    assert max(sizes) - sizes[0] < 3_000
    assert max(sizes) < 60_000
