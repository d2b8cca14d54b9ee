"""Workbooks made in memory, and read back by openpyxl, calamine and LibreOffice."""

import csv
import io
import re
import shutil
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from python_calamine import CalamineWorkbook

import xlsx_parts
from cells import cell_encoder
from dwh import Column
from xlsx import XlsxWriter

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


def threads() -> list[str]:
    """The threads that deflate."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("deflate")]
