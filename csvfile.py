"""CSV as Russian Excel opens it by a double click: the dialect, the quoting, the writer of an export's part file."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dwh import Column
    from settings import Settings

#: Bytes gathered before they go to the part file in one call.
BUFFER = 1 << 20
#: What a text begins with when a spreadsheet takes it for a formula (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_STARTS = "=+-@\t\r"


@dataclass(frozen=True)
class CsvDialect:
    """How CSV is written."""

    #: Between fields: one ASCII character.
    delimiter: str = ";"
    #: The file begins with the UTF-8 mark by which Excel knows the encoding.
    bom: bool = True
    #: Text that a spreadsheet would take for a formula gets `'` before it. Off, for an export with 12 columns of text
    #: among its 30 takes a seventh longer with it.
    safe_formulas: bool = False

    @classmethod
    def of(cls, settings: Settings) -> CsvDialect:
        """Return the installation's."""
        return cls(settings.csv_delimiter, settings.csv_bom, settings.csv_safe_formulas)


def safe_formula(text: str) -> str:
    """Put `'` before what a spreadsheet would take for a formula."""
    return "'" + text if text and text[0] in FORMULA_STARTS else text


def csv_quoting(delimiter: str) -> Callable[[str], str]:
    """Give the function that quotes a field where PostgreSQL's COPY would: where needed, and if it is empty."""
    special = re.compile(f'[{re.escape(delimiter)}"\r\n]').search

    def quoted(text: str) -> str:
        if text and not special(text):
            return text
        return '"' + text.replace('"', '""') + '"'

    return quoted


def csv_header(columns: Sequence[Column], dialect: CsvDialect) -> bytes:
    """Give the beginning of a file: the mark where the dialect asks for it, and the names, quoted as COPY does."""
    names = [safe_formula(column.name) if dialect.safe_formulas else column.name for column in columns]
    row = dialect.delimiter.join(map(csv_quoting(dialect.delimiter), names)) + "\n"
    return row.encode("utf-8-sig" if dialect.bom else "utf-8")


class Part(Protocol):
    """What is needed of a part file: bytes go to its end, all of them."""

    def write(self, data: bytes | memoryview) -> int:
        """Append the bytes; raises StorageError."""


class _Tail(io.RawIOBase):
    """The part file as the raw end of a buffer, with the seconds spent in it."""

    def __init__(self, part: Part) -> None:
        self.seconds = 0.0
        self.dropped = False
        self._part = part

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.dropped:
            return len(data)
        began = perf_counter()
        written = self._part.write(data)
        self.seconds += perf_counter() - began
        return written


class CsvWriter:
    """Appends finished CSV rows to a part file; goes on after an interruption without knowing anything."""

    #: The step of `seconds` that is spent inside `write`.
    INLINE = "write"

    #: Takes whole rows in CSV. A C function, for a warehouse calls it once a row.
    write: Callable[[bytes], object]

    def __init__(self, part: Part, header: bytes, state: dict[str, Any] | None = None) -> None:
        """Begin a new file with the header (mark and names), or go on with one when its state is given."""
        self._tail = _Tail(part)
        self._buffer = io.BufferedWriter(self._tail, BUFFER)
        self.write = self._buffer.write
        if state is None:
            self.write(header)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds since construction that went into writing the file."""
        return {"write": self._tail.seconds}

    def end_page(self) -> dict[str, Any]:
        """Put everything given so far into the part; the part's length says where to go on, so the state is empty."""
        self._buffer.flush()
        return {}

    def finish(self) -> None:
        """Put the rest into the part: CSV has no tail of its own."""
        self._buffer.close()

    def abort(self) -> None:
        """Drop what has not reached the part."""
        self._tail.dropped = True
        self._buffer.close()
