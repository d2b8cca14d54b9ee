"""A day's rows as a file, in the formats and the dialect of every other file of the queue."""

import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from typing import Literal

from cells import cell_encoder, csv_encoder
from csvfile import CsvDialect, CsvWriter, csv_header
from dwh import Column, Kind
from integrations.daily_reports.table import Row
from settings import Settings

Format = Literal["csv", "xlsx"]

_KINDS: dict[str, Kind] = {"report_at": "date"}
_COLUMNS = tuple(Column(field.name, _KINDS.get(field.name, "number"), "") for field in fields(Row))


class _Memory(io.BytesIO):
    """A part file that is never on a disk."""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.tell()


def content(settings: Settings, rows: Sequence[Row], format_: Format) -> bytes:
    """Return the complete file: a header row with the columns' names, a row for each order."""
    return _xlsx(rows) if format_ == "xlsx" else _csv(settings, rows)


def _csv(settings: Settings, rows: Sequence[Row]) -> bytes:
    dialect = CsvDialect.of(settings)
    file = _Memory()
    writer = CsvWriter(file, csv_header(_COLUMNS, dialect))
    encoders = [csv_encoder(column, dialect) for column in _COLUMNS]
    for row in rows:
        writer.write(_line(row, encoders, dialect.delimiter))
    writer.finish()
    return file.getvalue()


def _xlsx(rows: Sequence[Row]) -> bytes:
    from xlsx import XlsxWriter  # noqa: PLC0415 -- only this format pays for the compressor's import

    file = _Memory()
    writer = XlsxWriter(file, _COLUMNS)
    encoders = [cell_encoder(column) for column in _COLUMNS]
    try:
        for row in rows:
            writer.write(_line(row, encoders, "\t"))
        writer.finish()
    finally:
        writer.abort()
    return file.getvalue()


def _line(row: Row, encoders: Sequence[Callable[[object], str]], delimiter: str) -> bytes:
    values = zip(encoders, astuple(row), strict=True)
    return (delimiter.join(encode(value) for encode, value in values) + "\n").encode()
