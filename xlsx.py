"""XLSX as fast as the server can give rows: wire text becomes sheet XML a block at a time, never a row at a time.

The rows come in COPY's text form with values already formatted by the server. Each step below is one call into C for
a whole block; readers number cells by their order, so that cells need no addresses (ECMA-376 makes `r` optional).
"""

from __future__ import annotations

import io
import re
from time import perf_counter
from typing import TYPE_CHECKING, Any

import xlsx_parts
from cells import cell_encoder
from dwh import Column
from errors import UserError, WarehouseError
from zipstream import Part, ZipStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Rows of a sheet, with its header; Excel's limit.
SHEET_ROWS = 1_048_576
#: Bytes of a sheet's XML: what a zip entry can hold, less room for the tail.
SHEET_BYTES = (1 << 32) - (1 << 24)
#: Excel's limit.
MAX_COLUMNS = 16_384
#: Bytes of rows formatted at once: small enough for the caches, and for the server not to wait meanwhile.
BLOCK = 64 << 10
#: Rows that are looked at for the widths of the columns; the widths in characters.
SAMPLE_ROWS, NARROWEST, WIDEST = 100, 8, 60

_NULL = rb"\N"
_TEXT = (b'<c t="inlineStr"><is><t xml:space="preserve">', b"</t></is></c>")
_HEADER = (b'<c s="%d" t="inlineStr"><is><t xml:space="preserve">' % xlsx_parts.BOLD, b"</t></is></c>")
_STYLES = {"date": xlsx_parts.DATE, "datetime": xlsx_parts.DATETIME, "time": xlsx_parts.TIME}
_WIDTHS = {"date": 11, "datetime": 20, "time": 9, "boolean": 9}
#: Twelve digits and more, which Excel would show as 1,23E+11 without a format.
_LONG_INTEGERS = frozenset({"bigint", "int8", "int64", "uint64"})

# What XML cannot hold is written as _xHHHH_ (ECMA-376 part 1, 22.9.2.19), so a text that looks like that is escaped
# itself: its first underscore becomes _x005F_. The closing one may be the beginning of the next escape.
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f]|\xef\xbf[\xbe\xbf]")
_FORBIDDEN_FIRST = (*(bytes([code]) for code in range(32) if code not in b"\t\n"), b"\xef")
_LOOKS_ESCAPED = re.compile(rb"_(?=x[0-9A-Fa-f]{4}(?:_|[\x00-\x08\x0b-\x1f]|\\[bfrv]|\xef\xbf[\xbe\xbf]))")
_BACKSLASHED = re.compile(rb"\\([^N])")
_UNESCAPED = {
    b"\\": b"&#92;",  # a bare one would make a null of the text \N
    b"t": b"&#9;",
    b"n": b"&#10;",
    b"r": b"_x000D_",
    b"b": b"_x0008_",
    b"f": b"_x000C_",
    b"v": b"_x000B_",
}
_MARKED_BOOLEAN = b' t="b"><v>!'
_TEXT_VALUE = re.compile(rb"><v>!([^<]*)</v>")
_AS_TEXT = rb' t="inlineStr"><is><t xml:space="preserve">\1</t></is>'


class RowFormat:
    """Turns blocks of rows into XML, given what stands before and behind the value in each column."""

    def __init__(self, cells: Sequence[tuple[bytes, bytes]]) -> None:
        # A row's end is one more cell, so that nulls in the first and the last column are like all others.
        self._row = [b"</row>", b"\n", b"<row>"]
        for before, behind in cells:
            self._row += (before, b"", behind)
        self._cells = 1 + len(cells)

    def xml(self, rows: bytes, count: int) -> bytes:
        """Return the `<row>` elements of `count` rows in wire form; raises WarehouseError where cells are missing."""
        cells = (b"\n\t" + _escaped(rows)[:-1].replace(b"\n", b"\t\n\t")).split(b"\t")
        if len(cells) != count * self._cells:
            given, wanted = len(cells) - count, count * (self._cells - 1)
            raise WarehouseError(f"{count} rows came with {given} cells instead of {wanted}")
        pieces = self._row * count
        pieces[1::3] = cells
        _blank_nulls(pieces, cells)
        pieces[0] = b""  # no row before the first that it would close
        pieces.append(b"</row>")
        xml = b"".join(pieces)
        if b"!" in rows and b"<v>!" in xml:
            xml = _TEXT_VALUE.sub(_AS_TEXT, xml.replace(_MARKED_BOOLEAN, b"><v>!"))
        return xml


class XlsxWriter:
    """Streams rows into an XLSX in a part file; goes on after an interruption from the state of the last page.

    The first row of every sheet holds the columns' names. Errors of the compressing thread (StorageError) are raised
    by `write`, `end_page` or `finish`; after them only `abort` makes sense.
    """

    #: The step of `seconds` that is spent inside `write`.
    INLINE = "format"
    #: Whole rows in the form of `Warehouse.cells_page`. A C function, for the warehouse calls it once a row.
    write: Callable[[bytes], object]

    def __init__(self, part: Part, columns: Sequence[Column], state: dict[str, Any] | None = None) -> None:
        """Begin a new file, or go on with one when its state is given and the part ends where it says.

        Raises:
            UserError: no columns, or more than a sheet can have.
            StorageError: the part is not as long as the state says.
        """
        if not 0 < len(columns) <= MAX_COLUMNS:
            raise UserError(f"в таблице столбцов: {len(columns)}, на листе XLSX их может быть от 1 до {MAX_COLUMNS}")
        self._columns = columns
        self._format = RowFormat([_cell(column) for column in columns])
        self._seconds = 0.0
        place = state or {"zip": None, "rows": 0, "sheet": 0, "sheet_rows": 0, "widths": []}
        #: Rows in the file without headers, as of the last end of a page.
        self.rows: int = place["rows"]
        self._sheet: int = place["sheet"]
        self._sheet_rows: int = place["sheet_rows"]
        self._widths: list[int] = place["widths"]
        self._zip = ZipStream(part, place["zip"])
        if state is None:
            for name, data in xlsx_parts.FIRST_PARTS:
                self._zip.add(name, data)
        self._blocks = _Blocks(self._take)
        self._buffer = io.BufferedWriter(self._blocks, BLOCK)
        self.write = self._buffer.write

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds since construction by step; formatting is the caller's, the other steps are the thread's."""
        return {"format": self._seconds, **self._zip.seconds}

    def end_page(self) -> dict[str, Any]:
        """Put everything given so far into the part; return the state (JSON) from which another writer goes on."""
        self._flush()
        return {
            "zip": self._zip.sync(),
            "rows": self.rows,
            "sheet": self._sheet,
            "sheet_rows": self._sheet_rows,
            "widths": self._widths,
        }

    def finish(self) -> None:
        """Put the rest and the tail into the part: the file is complete."""
        self._flush()
        if not self._sheet:
            self._next_sheet()
        self._end_sheet()
        for name, data in xlsx_parts.last_parts(self._sheet):
            self._zip.add(name, data)
        self._zip.finish()

    def abort(self) -> None:
        """Stop the thread and drop what has not reached the part; does nothing after `finish`."""
        self._blocks.dropped = True
        self._zip.abort()
        self._buffer.close()

    def _flush(self) -> None:
        self._buffer.flush()
        if self._blocks.rest:
            raise WarehouseError("the last row came without its end")

    def _take(self, rows: bytes) -> None:
        count = rows.count(b"\n")
        if not self._sheet:
            self._widths = _widths(self._columns, rows.split(b"\n", SAMPLE_ROWS)[:SAMPLE_ROWS])
        while count:
            if not self._sheet or self._sheet_rows == SHEET_ROWS:
                self._next_sheet()
            fitting = min(count, SHEET_ROWS - self._sheet_rows)
            block = rows
            if fitting < count:
                rows = rows.split(b"\n", fitting)[fitting]
                block = block[: len(block) - len(rows)]
            began = perf_counter()
            xml = self._format.xml(block, fitting)
            self._seconds += perf_counter() - began
            if self._zip.entry_size + len(xml) > SHEET_BYTES:
                self._next_sheet()
            self._zip.append(xml)
            count -= fitting
            self.rows += fitting
            self._sheet_rows += fitting

    def _next_sheet(self) -> None:
        if self._sheet:
            self._end_sheet()
        self._sheet += 1
        self._sheet_rows = 1
        self._widths = self._widths or _widths(self._columns, [])
        names = map(cell_encoder(Column("", "text", "text")), (column.name for column in self._columns))
        self._zip.begin(xlsx_parts.sheet_name(self._sheet))
        self._zip.append(xlsx_parts.sheet_head(self._sheet, self._widths))
        self._zip.append(RowFormat([_HEADER] * len(self._columns)).xml("\t".join(names).encode() + b"\n", 1))

    def _end_sheet(self) -> None:
        self._zip.append(xlsx_parts.sheet_tail(len(self._columns), self._sheet_rows))
        self._zip.end()


class _Blocks(io.RawIOBase):
    """The raw end of a buffer: hands on whole rows, many at once, so that a single row costs no Python."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        #: The beginning of a row whose end has not come yet.
        self.rest = b""
        self.dropped = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        data = data[:BLOCK]  # the buffer comes again with what is left
        if not self.dropped:
            block = self.rest + bytes(data)
            end = block.rfind(b"\n") + 1
            self.rest = block[end:]
            if end:
                self._take(block[:end])
        return len(data)


def _escaped(rows: bytes) -> bytes:
    """Return the rows as XML text; after it a backslash stands only in nulls."""
    rows = _LOOKS_ESCAPED.sub(b"_x005F_", rows)
    if any(first in rows for first in _FORBIDDEN_FIRST):
        rows = _FORBIDDEN.sub(lambda found: b"_x%04X_" % ord(found[0].decode()), rows)
    rows = rows.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return _BACKSLASHED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), rows)


def _blank_nulls(pieces: list[bytes], cells: list[bytes]) -> None:
    """Make empty cells of the nulls: `pieces` holds three for each of `cells`. Only nulls cost a step of Python."""
    at = -1
    try:
        while True:
            at = cells.index(_NULL, at + 1)
            pieces[3 * at] = b"<c/>"
            pieces[3 * at + 1] = pieces[3 * at + 2] = b""
    except ValueError:
        return


def _cell(column: Column) -> tuple[bytes, bytes]:
    """Return what stands before and behind a value of the column."""
    if column.kind == "text":
        return _TEXT
    if column.kind == "boolean":
        return b'<c t="b"><v>', b"</v></c>"
    style = _STYLES.get(column.kind, xlsx_parts.INTEGER if column.type.lower() in _LONG_INTEGERS else 0)
    return (b'<c s="%d"><v>' % style if style else b"<c><v>"), b"</v></c>"


def _widths(columns: Sequence[Column], rows: list[bytes]) -> list[int]:
    """Return the columns' widths in characters, by their names, kinds and the first rows."""
    # Three more than the name, for the filter's button.
    widths = [max(len(column.name) + 3, _WIDTHS.get(column.kind, NARROWEST)) for column in columns]
    for row in rows:
        for place, cell in enumerate(row.split(b"\t")[: len(columns)]):
            if columns[place].kind not in _WIDTHS:
                widths[place] = max(widths[place], len(cell.decode("utf-8", "replace")) + 1)
    return [min(width, WIDEST) for width in widths]
