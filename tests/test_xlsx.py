"""Workbooks: read back by openpyxl, calamine, pandas and LibreOffice; continued after every page; flat in memory."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet
from python_calamine import CalamineWorkbook

import xlsx
import xlsx_parts
from cells import cell_encoder
from dwh import Column, Kind
from errors import StorageError, UserError, WarehouseError
from xlsx import XlsxWriter

ROOT = Path(__file__).resolve().parent.parent
TEXT, NUMBER = Column("Текст", "text", "text"), Column("Число", "number", "numeric")
#: Texts that go wrong in one library or another.
TEXTS = [
    "=1+1",
    "+7 900",
    "@here",
    "_x0041_",
    "_x0041",
    "_x005F_",
    "__x0041__",
    "_x000a_x000A_",
    "_X0041_",
    "_xD83D_",
    "\x01",
    "_x0041\x01",
    "_x0041\x0b",
    "_x0041\r",
    "_x0041\\b",
    "a\x01x0041_",
    "".join(map(chr, range(1, 32))),
    "\x7f\x80\x9f\xa0\u2028\ufeff\ufffd",
    " lead",
    "trail ",
    "   ",
    "\t",
    "\n",
    "\ttab\tinside\t",
    "two\nlines\n",
    "cr\rlf\r\n",
    "\\",
    "\\N",
    "\\n",
    "a\\\\t\\",
    "\\\n",
    "!",
    "!5",
    "<v>!5</v>",
    "]]>",
    "<&>\"'",
    "&amp;&#10;",
    "",
    "😀 emoji 👨‍👩‍👧 ❤️",
    "№ Ёж Ж\u0301",
    "x" * 32_767,
    "0012",
    "1e5",
    "NULL",
]


class Memory:
    """A part file in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def wire(columns: list[Column], rows: list[list[Any]]) -> bytes:
    encoders = [cell_encoder(column) for column in columns]
    lines = ("\t".join(encode(value) for encode, value in zip(encoders, row, strict=True)) + "\n" for row in rows)
    return "".join(lines).encode()


def book(columns: list[Column], *pages: bytes) -> bytes:
    part = Memory()
    writer = XlsxWriter(part, columns)
    try:
        for page in pages:
            writer.write(page)
            writer.end_page()
        writer.finish()
    finally:
        writer.abort()
    return bytes(part.data)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("deflate")]


def unescaped(value: Any) -> Any:
    """Undo the format's own escape, which openpyxl leaves in place."""
    if not isinstance(value, str):
        return value
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), value)


def by_openpyxl(data: bytes, sheet: int = 0) -> list[list[Any]]:
    worksheet = openpyxl.load_workbook(io.BytesIO(data)).worksheets[sheet]
    return [[unescaped(value) for value in row] for row in worksheet.iter_rows(values_only=True)]


def by_calamine(data: bytes, sheet: int = 0) -> list[list[Any]]:
    return CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(sheet).to_python()


def by_libreoffice(data: bytes, folder: Path) -> dict[str, list[list[str]]]:
    """Return every sheet as LibreOffice shows it."""
    program = shutil.which("soffice")
    if program is None:
        pytest.fail("LibreOffice is missing: apt-get install -y --no-install-recommends libreoffice-calc")
    (folder / "book.xlsx").write_bytes(data)
    # Separator, quote, UTF-8, from line 1; as shown; all sheets.
    form = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,true,false,false,-1"
    done = subprocess.run(
        [
            program,
            f"-env:UserInstallation={(folder / 'profile').as_uri()}",
            "--headless",
            "--convert-to",
            form,
            "--outdir",
            str(folder),
            str(folder / "book.xlsx"),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0 and "Error" not in done.stdout + done.stderr, done
    sheets = {}
    for path in folder.glob("book-*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            sheets[path.stem.removeprefix("book-")] = list(csv.reader(file))
    return sheets


def sheet_xml(data: bytes, sheet: int = 1) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(xlsx_parts.sheet_name(sheet)).decode()


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
        ("boolean", "boolean", ["1", "0"], [True, False]),
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


def test_more_rows_than_a_sheet_of_excel_holds() -> None:
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


def test_pandas_reads_types() -> None:
    columns = [TEXT, NUMBER, Column("Дата", "datetime", "timestamp")]
    data = book(columns, wire(columns, [["а", 1.5, datetime(2024, 1, 2, 3, 4, 5)], [None, 2, None]]))
    for engine in ("openpyxl", "calamine"):
        frame = pd.read_excel(io.BytesIO(data), engine=engine)  # type: ignore[call-overload]
        assert frame["Число"].dtype == float
        assert frame["Дата"][0] == pd.Timestamp(2024, 1, 2, 3, 4, 5)
        assert pd.isna(frame["Текст"][1])


@pytest.mark.parametrize("count", [0, 16_385])
def test_a_table_that_no_sheet_holds_is_the_request_s_fault(count: int) -> None:
    with pytest.raises(UserError, match="столбцов: "):
        XlsxWriter(Memory(), [TEXT] * count)


def test_as_many_columns_as_a_sheet_can_have() -> None:
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
