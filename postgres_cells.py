"""How PostgreSQL itself writes a column's values: the type's kind, the expression of a cell, text guarded in CSV.

The cells' expressions give what `cells.py` describes. They end in the types' own output functions (`int8out`, not
`::text`), for the copy that a cast makes costs half of what formatting the number does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg2 import sql

from csvfile import FORMULA_STARTS

if TYPE_CHECKING:
    from dwh import Column, Kind

_INT8 = "CASE WHEN {c} BETWEEN -999999999999999 AND 999999999999999 THEN int8out({c}) ELSE textout('!' || {c}) END"

_FLOAT = "CASE WHEN {c} < 'Infinity' AND {c} > '-Infinity' THEN OUT({c}) ELSE textout('!' || {c}) END"

# A stored numeric is 3 bytes and 2 more for every 4 digits (2 more where it is huge or tiny), a computed one 3 bytes
# more than that: to look at its size is far cheaper than to look at its value. Zero, NaN and infinities have no digits.
_SHORT_NUMERIC = """CASE WHEN pg_column_size({c}) NOT IN (3, 6) THEN numeric_out({c})
WHEN {c} = 'NaN' THEN '!NaN' ELSE numeric_out({c}) END"""

# Up to 12 digits pass by their size, up to 15 by the cast (it keeps so many), more when the double's own digits do.
_NUMERIC = """CASE WHEN pg_column_size({c}) IN (9, 7, 5) AND BOUNDED OR {c} = 0 THEN numeric_out({c})
WHEN abs({c}) > 1e-300 AND abs({c}) < 1e300
     AND ({c}::float8::numeric = {c} OR abs({c}) < 1e15 AND {c}::float8::text::numeric = {c}) THEN numeric_out({c})
ELSE textout('!' || {c}) END"""

_DATE = """CASE WHEN {c} BETWEEN '1900-03-01' AND '9999-12-31' THEN int4out({c} - date '1899-12-30')
ELSE textout('!' || {c}) END"""

# Within 2^30 seconds of 2000 three roundings (to 0.06, 0.08 and 0.31 microseconds) stay below half a microsecond, so
# that the difference of two timestamps in seconds will do; `tsrange_subdiff` is the function that gives it as a double.
# Elsewhere the days and the part of the day are both exact before they are added, which takes twice as long.
_DATETIME = """CASE WHEN {c} >= '1966-01-01' AND {c} < '2034-01-01'
THEN float8out(tsrange_subdiff({c}::timestamp, '2000-01-01') / 86400.0 + 36526.0)
WHEN {c} >= '1900-03-01' AND ({c} < '2079-06-05' OR {c} < '10000-01-01' AND date_trunc('milliseconds', {c}) = {c})
THEN float8out(({c}::date - date '1899-12-30') + date_part('epoch', {c}::time) / 86400.0)
ELSE textout('!' || {c}) END"""

_TIME = "CASE WHEN {c} < '24:00' THEN float8out(date_part('epoch', {c}) / 86400.0) ELSE textout('!' || {c}) END"

#: Name of the type as `format_type` gives it, its kind, the expression of its cells.
_TYPES: tuple[tuple[str, Kind, str], ...] = (
    ("smallint|integer", "number", "{c}"),
    ("bigint", "number", _INT8),
    (r"numeric\((\d|1[0-5]),\d\d?\)", "number", _SHORT_NUMERIC),
    (r"numeric\(1?\d?\d,\d\d?\)", "number", _NUMERIC.replace("BOUNDED", "true")),
    (r"numeric(\(.*\))?", "number", _NUMERIC.replace("BOUNDED", "{c} BETWEEN -1e15 AND 1e15 AND scale({c}) < 300")),
    ("real", "number", _FLOAT.replace("OUT", "float4out")),
    ("double precision", "number", _FLOAT.replace("OUT", "float8out")),
    ("boolean", "boolean", "{c}::int"),
    ("date", "date", _DATE),
    (r"timestamp(\(\d\))? with(out)? time zone", "datetime", _DATETIME),
    (r"time(\(\d\))? without time zone", "time", _TIME),
)

# Most texts begin with a letter: one comparison of bytes tells.
_SAFE = """CASE WHEN {c}::text ~>=~ 'A' THEN VALUE
WHEN ascii({c}::text) IN (STARTS) THEN GUARDED ELSE VALUE END""".replace(
    "STARTS", str([*map(ord, FORMULA_STARTS)])[1:-1]
)
_SAFE_TEXT = _SAFE.replace("VALUE", "{c}::text").replace("GUARDED", "'''' || {c}::text")
# As text it would lose the blanks at its end.
_SAFE_PADDED = _SAFE.replace("VALUE", "{c}").replace("GUARDED", "concat('''', {c})::bpchar")
_TEXT = re.compile(r'text|character varying(\(\d+\))?|name|"char"|(.*\.)?citext')
_PADDED = re.compile(r"character(\(\d+\))?|bpchar")


def kind_of(type_: str) -> Kind:
    """Give the kind of a type, by its name without domains; whatever is not a number, a date or so is text."""
    return _form(type_)[0]


def cell(column: Column) -> sql.Composable:
    """Give the expression of the column's cells; long text is cut by whoever reads the rows."""
    return sql.SQL(_form(column.type)[1]).format(c=sql.Identifier(column.name))


def csv_field(column: Column, *, safe: bool) -> sql.Composable:
    """Give the expression of the column's CSV values, with `'` before formulas where `safe`."""
    name = sql.Identifier(column.name)
    if safe and _TEXT.fullmatch(column.type):
        return sql.SQL(_SAFE_TEXT).format(c=name)
    if safe and _PADDED.fullmatch(column.type):
        return sql.SQL(_SAFE_PADDED).format(c=name)
    return name


def _form(type_: str) -> tuple[Kind, str]:
    for pattern, kind, expression in _TYPES:
        if re.fullmatch(pattern, type_):
            return kind, expression
    return "text", "{c}"
