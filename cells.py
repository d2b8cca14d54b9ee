r"""The "cells" form, from which spreadsheets are made, and how Python values get into it and into CSV.

A row is fields separated by tabs and ended by a line feed, in UTF-8, escaped as PostgreSQL's COPY escapes its text
format: `\N` is NULL; `\\ \b \f \n \r \t \v` are characters. A field is what the cell holds, by its column's kind:

- text: the text, at most 32,767 UTF-16 units, else cut, with a mark at its end;
- number: digits as XML takes them; boolean: `1`, `0`;
- date, datetime, time: the serial number of a spreadsheet, days since 1899-12-30.

A value that the cell's number cannot give back exactly comes as `!` and its text: integers past 15 digits, decimals
that a double does not hold, NaN and infinity, dates before 1900-03-01 or after 9999. A double has no room for
microseconds from 2079-06-05 on (65,536 days): from there only whole milliseconds are numbers.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from csvfile import csv_quoting, safe_formula

if TYPE_CHECKING:
    from collections.abc import Callable

    from csvfile import CsvDialect
    from dwh import Column, Kind

#: UTF-16 units that a cell may hold, and what the end of a longer text is replaced with.
MAX_CELL = 32_767
CUT_MARK = "… [обрезано]"

#: Digits that every double gives back, and that a spreadsheet shows.
_DIGITS = 15
_WHOLE = 10**_DIGITS
#: Between these a decimal becomes a double without overflow or loss of digits.
_TINY, _HUGE = Decimal("1e-300"), Decimal("1e300")

_EPOCH = date(1899, 12, 30)
_FIRST = date(1900, 3, 1)  # before it spreadsheets count a day that never was
_COARSE = date(2079, 6, 5)
_HOUR, _MINUTE, _MICROSECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(microseconds=1)
_NEAR = date(1966, 1, 1), date(2034, 1, 1)  # see `postgres_cells`, whose every operation is repeated here
_MILLENNIUM = datetime(2000, 1, 1)

_ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_ESCAPE = str.maketrans(_ESCAPES)
_UNESCAPE = {escaped[1]: char for char, escaped in _ESCAPES.items()}
_SCALE = re.compile(r"(?:numeric|decimal)\s*\(\s*\d+\s*,\s*(\d+)\s*\)", re.IGNORECASE)


def cut(text: str) -> str:
    """Shorten a text to what a cell may hold, never through the middle of a character."""
    if len(text) <= MAX_CELL // 2:
        return text
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * MAX_CELL:
        return text
    return units[: 2 * (MAX_CELL - len(CUT_MARK))].decode("utf-16-le", "ignore") + CUT_MARK


def shorten_cells(row: bytes) -> bytes:
    """Shorten the texts of one row; needed only where the whole row is longer than a cell may be."""
    fields = row[:-1].split(b"\t")
    return b"\t".join(_shorten(field) if len(field) > MAX_CELL else field for field in fields) + b"\n"


def _shorten(field: bytes) -> bytes:
    text = re.sub(r"\\(.)", lambda found: _UNESCAPE[found[1]], field.decode())
    return cut(text).translate(_ESCAPE).encode()


def text_of(value: object) -> str:
    """Write a value, not None, as PostgreSQL would."""
    kind = type(value)
    write = _TEXTS.get(kind) or next((_TEXTS[base] for base in kind.__mro__ if base in _TEXTS), str)
    return write(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = float.__repr__(value)  # a scalar of numpy is a float, too, and shows itself with its name
    if abs(value) < _WHOLE or "e" in text:
        return text.removesuffix(".0")
    # Python turns to exponents at 1e16, PostgreSQL at 1e15: 16 digits and ".0" here. (Past 2^53 PostgreSQL now and then
    # writes one digit more than it takes: 9.999999999999999e+22 is the double of 1e+23.)
    sign, digits = ("-", text[1:-2]) if value < 0 else ("", text[:-2])
    return f"{sign}{digits[0]}.{digits[1:]}".rstrip("0").rstrip(".") + "e+15"


def _decimal(value: Decimal) -> str:
    return format(value, "f") if value.is_finite() else _float(float(value))


def _clock(value: datetime | time) -> str:
    bare = value.replace(tzinfo=None)
    text = bare.isoformat(" ") if isinstance(bare, datetime) else bare.isoformat()
    if "." in text:
        text = text.rstrip("0")
    offset = value.utcoffset()
    if offset is None:
        return text
    sign, offset = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    hours, minutes, seconds = f"{offset!s:0>8}".split(":")
    return text + sign + hours + (f":{minutes}" if offset % _HOUR else "") + (f":{seconds}" if offset % _MINUTE else "")


def _interval(value: timedelta) -> str:
    sign, size = ("-", -value) if value < timedelta(0) else ("", value)
    rest = timedelta(seconds=size.seconds, microseconds=size.microseconds)
    parts = []
    if size.days:
        parts.append(f"{sign}{size.days} day" + ("" if size.days == 1 and not sign else "s"))
    if rest or not parts:
        text = f"{rest!s:0>8}" if not rest.microseconds else f"{rest!s:0>15}".rstrip("0")
        parts.append(sign + text)
    return " ".join(parts)


def _binary(value: bytes | bytearray | memoryview) -> str:
    return "\\x" + bytes(value).hex()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=text_of)


_TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    bool: lambda value: "t" if value else "f",
    int: str,
    float: _float,
    Decimal: _decimal,
    datetime: _clock,
    date: date.isoformat,
    time: _clock,
    timedelta: _interval,
    bytes: _binary,
    bytearray: _binary,
    memoryview: _binary,
    dict: _json,
    list: _json,
    tuple: _json,
}


def csv_encoder(column: Column, dialect: CsvDialect) -> Callable[[object], str]:
    """Give the function that writes the column's values as CSV fields."""
    fit, quoted = _fit(column), csv_quoting(dialect.delimiter)
    guarded = dialect.safe_formulas and column.kind == "text"

    def encode(value: object) -> str:
        if value is None:
            return ""
        text = text_of(fit(value))
        return quoted(safe_formula(text) if guarded and isinstance(value, str) else text)

    return encode


def cell_encoder(column: Column) -> Callable[[object], str]:
    """Give the function that writes the column's values in the "cells" form."""
    fit, number = _fit(column), _NUMBERS[column.kind]
    mark = "" if column.kind == "text" else "!"

    def encode(value: object) -> str:
        if value is None:
            return "\\N"
        value = fit(value)
        cell = number(value)
        return cell if cell is not None else mark + cut(text_of(value)).translate(_ESCAPE)

    return encode


def _fit(column: Column) -> Callable[[Any], object]:
    """Give the function that makes of a value what its column says it is, where the warehouse is not strict."""
    match column.kind:
        case "boolean":
            return lambda value: bool(value) if isinstance(value, int) and value in {0, 1} else value
        case "date":
            return lambda value: _read(date, value)
        case "datetime":
            return lambda value: _read(datetime, value)
        case "time":
            return _to_time
    scale = _SCALE.fullmatch(column.type)
    if scale:
        places = f".{scale[1]}f"
        return lambda value: Decimal(format(value, places)) if isinstance(value, float) else value
    return lambda value: value


def _read(kind: type[date | datetime | time], value: object) -> object:
    if isinstance(value, str):
        with suppress(ValueError):
            return kind.fromisoformat(value)
    return value


def _to_time(value: object) -> object:
    if isinstance(value, timedelta) and timedelta(0) <= value < timedelta(days=1):
        return (datetime.min + value).time()
    return _read(time, value)


def _number(value: object) -> str | None:
    if isinstance(value, int):
        return str(int(value)) if -_WHOLE < value < _WHOLE else None
    if isinstance(value, float):
        return _float(value) if math.isfinite(value) else None
    if isinstance(value, Decimal) and value.is_finite() and (not value or _TINY < abs(value) < _HUGE):
        exact = len(value.normalize().as_tuple().digits) <= _DIGITS
        if exact or (abs(value) < _WHOLE and Decimal(repr(float(value))) == value):
            return _decimal(value)
    return None


def _boolean(value: object) -> str | None:
    return str(int(value)) if isinstance(value, bool) else None


def _date(value: object) -> str | None:
    if isinstance(value, datetime) or not isinstance(value, date) or value < _FIRST:
        return None
    return str((value - _EPOCH).days)


def _datetime(value: object) -> str | None:
    if not isinstance(value, datetime) or value.date() < _FIRST:
        return None
    if value.date() >= _COARSE and value.microsecond % 1000:
        return None
    if _NEAR[0] <= value.date() < _NEAR[1]:
        seconds = (value.replace(tzinfo=None) - _MILLENNIUM) // _MICROSECOND / 1e6
        return _float(seconds / 86400.0 + 36526.0)
    return _float((value.date() - _EPOCH).days + _fraction(value.time()))


def _time(value: object) -> str | None:
    return _float(_fraction(value)) if isinstance(value, time) and value.tzinfo is None else None


def _fraction(value: time) -> float:
    """Give the part of the day that has passed."""
    micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return micros / 1e6 / 86400.0


def _no_number(_: object) -> None:
    return None


_NUMBERS: dict[Kind, Callable[[object], str | None]] = {
    "text": _no_number,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _datetime,
    "time": _time,
}
