r"""How ClickHouse itself writes a column's values, as PostgreSQL would: SQL expressions of CSV fields and of cells.

The server does it several times faster than Python could, and the driver moves one string a row. Every expression is
understood by servers from 18.16 on. `if` computes both its branches for every row there, so what is dear and rarely
needed runs inside `arrayMap` over an array that is mostly empty. The cells' form is described in `cells.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from csvfile import FORMULA_STARTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from dwh import Kind

_TYPE = re.compile(r"(\w+)(?:\((.*)\))?", re.DOTALL)
_SMALL = re.compile(r"U?Int(8|16|32)")
_INTEGER = re.compile(r"U?Int\d+")
_FLOAT = re.compile(r"Float(32|64)")
_DATE = re.compile(r"Date(32)?")
#: Digits that every double gives back, and that a spreadsheet shows.
_DIGITS = 15
_WHOLE = 10**_DIGITS
#: Characters of numbers, dates and UUIDs that a delimiter may be as well.
_PUNCTUATION = "+-.: "
_ESCAPED = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
#: Seconds and microseconds that the double of PostgreSQL's own expression counts from and up to, see `postgres_cells`.
_NEAR = "({d} >= -1461 AND {d} < 23376)"

#: Where `toString` does not write what PostgreSQL would. Zero days and seconds were once shown as 0000-00-00.
_TEXTS = {
    "String": "{x}",
    "Bool": "if({x}, 't', 'f')",
    "Date": "if({x} = toDate(toUInt16(0)), '1970-01-01', toString({x}))",
    "DateTime": "if(toUInt32({x}) = 0,"
    " concat(substring(toString(toDateTime(toUInt32(1){zone})), 1, 18), '0'), toString({x}))",
    "DateTime64": "replaceRegexpOne(toString({x}), '\\\\.?0+$', '')",
}


def identifier(name: str) -> str:
    """Quote the name of a column, a table or a database."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Quote a text that the project itself puts into a statement."""
    return "'" + "".join({**_ESCAPED, "'": "\\'"}.get(char, char) for char in text) + "'"


def percent(text: str) -> str:
    """Double what the driver would take for a parameter."""
    return text.replace("%", "%%")


def split_type(type_: str) -> tuple[str, str, bool]:
    """Give the type's name, what stands in its brackets, and whether it takes NULL; its wrappings are taken off."""
    name, inner = _parts(type_)
    if name == "LowCardinality":
        return split_type(inner)
    if name == "Nullable":
        return *_parts(inner), True
    if name == "SimpleAggregateFunction":
        return split_type(inner.partition(", ")[2])
    return name, inner, False


def bare_type(type_: str) -> str:
    """Give the type without its wrappings."""
    name, inner, _ = split_type(type_)
    return f"{name}({inner})" if inner else name


def zone_of(name: str, inner: str) -> str:
    """Give the time zone, quoted, that the type `DateTime(…)` or `DateTime64(…)` names; empty where it names none."""
    return inner.partition(", ")[2] if name == "DateTime64" else inner


def is_wide_decimal(type_: str) -> bool:
    """Tell whether decimals of the type may have more digits than every double gives back."""
    name, inner, _ = split_type(type_)
    return name == "Decimal" and int(inner.split(",")[0]) > _DIGITS


def kind_of(type_: str) -> Kind:
    """Give the kind of a type; whatever is not a number, a date or so is text."""
    name = split_type(type_)[0]
    if _INTEGER.fullmatch(name) or _FLOAT.fullmatch(name) or name == "Decimal":
        return "number"
    if name == "Bool":
        return "boolean"
    if _DATE.fullmatch(name):
        return "date"
    return "datetime" if name in {"DateTime", "DateTime64"} else "text"


def csv_field(column: str, type_: str, delimiter: str, *, safe: bool) -> str:
    """Give the expression of the column's CSV fields: quoted as COPY does, with `'` before formulas where `safe`."""

    def field(name: str, inner: str, x: str) -> str:
        text = _text(name, inner, x)
        if name in {"String", "FixedString"} and safe:
            starts = ", ".join(map(literal, FORMULA_STARTS))
            text = f"if(substring({text}, 1, 1) IN ({starts}), concat('\\'', {text}), {text})"
        plain = kind_of(name) != "text" or name == "UUID"
        if plain and delimiter not in _PUNCTUATION:
            return text
        found = " + ".join(f"position({text}, {literal(char)})" for char in (delimiter, '"', "\r", "\n"))
        return f"if({text} = '' OR {found} > 0, concat('\"', replaceAll({text}, '\"', '\"\"'), '\"'), {text})"

    return _unwrapped(identifier(column), type_, field, "''")


def cell(column: str, type_: str) -> str:
    """Give the expression of the column's cells.

    Long texts are cut by whoever reads the rows; of wide decimals every one of more than 15 digits comes marked, for
    only an exact comparison tells which of them a double holds.
    """

    def field(name: str, inner: str, x: str) -> str:
        text = _text(name, inner, x)
        if kind_of(name) == "text":
            for char, escaped in _ESCAPED.items():
                text = f"replaceAll({text}, {literal(char)}, {literal(escaped)})"
            return text
        return _number(name, inner, x, text)

    return _unwrapped(identifier(column), type_, field, literal("\\N"))


def _parts(type_: str) -> tuple[str, str]:
    found = _TYPE.fullmatch(type_)
    return (found[1], found[2] or "") if found else (type_, "")


def _unwrapped(x: str, type_: str, field: Callable[[str, str, str], str], null: str) -> str:
    """Write the field of a value that may be NULL or in a dictionary."""
    name, inner, nullable = split_type(type_)
    if _parts(type_)[0] == "LowCardinality":
        x = f"CAST({x} AS {_parts(type_)[1]})"
    if not nullable:
        return field(name, inner, x)
    return f"if(isNull({x}), {null}, {field(name, inner, f'assumeNotNull({x})')})"


def _text(name: str, inner: str, x: str, depth: int = 0) -> str:
    """Write a value that is not NULL as PostgreSQL would."""
    if name == "Array":
        return _array(inner, x, depth)
    if name.startswith("Float"):
        return _float(name, x, depth)
    if name == "Decimal":
        return _decimal(x, int(inner.partition(",")[2]))
    form = _TEXTS.get(name, "toString({x})")
    if name == "DateTime64" and inner.startswith("0"):
        form = "toString({x})"
    return form.format(x=x, zone=inner and f", {inner}")


def _float(name: str, x: str, depth: int) -> str:
    """Turn to exponents where PostgreSQL does, and not at 1e21 and 1e-7."""
    limit, digits = ("1e15", 15) if name == "Float64" else ("1e6", 6)
    usual = f"({x} = 0 OR abs({x}) >= 0.001 AND abs({x}) < {limit})"
    v, t, m, e = (f"_{letter}{depth}" for letter in "vtme")
    texts = f"arrayMap({v} -> toString({v}), if({usual}, emptyArray{name}(), [{x}]))"
    mantissa = f"replaceRegexpOne(replaceRegexpOne({t}, 'e.*$', ''), '^[-0.]+', '')"
    mantissas = f"arrayMap({t} -> replaceRegexpOne(replaceOne({mantissa}, '.', ''), '0+$', ''), {texts})"
    exponents = (
        f"arrayMap({t} -> multiIf(position({t}, 'e') > 0, toInt32OrZero(substring({t}, position({t}, 'e') + 1)),"
        f" match({t}, '^-?0'), -1 - toInt32(length(extract({t}, '^-?0\\\\.(0*)'))),"
        f" toInt32(length(extract({t}, '[0-9]+'))) - 1), {texts})"
    )
    scientific = (
        f"concat(if({t} < '0', '-', ''), substring({m}, 1, 1), if(length({m}) > 1, '.', ''), substring({m}, 2),"
        f" if({e} < 0, 'e-', 'e+'), if(abs({e}) < 10, '0', ''), toString(abs({e})))"
    )
    unusual = (
        f"multiIf({t} = 'nan', 'NaN', {t} = 'inf', 'Infinity', {t} = '-inf', '-Infinity',"
        f" {e} >= -4 AND {e} < {digits}, {t}, {scientific})"
    )
    rest = f"arrayElement(arrayMap(({t}, {m}, {e}) -> {unusual}, {texts}, {mantissas}, {exponents}), 1)"
    return f"if({usual}, toString({x}), {rest})"


def _decimal(x: str, scale: int) -> str:
    """Keep the zeros at the end, which newer servers drop."""
    if not scale:
        return f"toString({x})"
    t, zeros = f"toString({x})", "0" * scale
    missing = f"substring('{zeros}', length({t}) - position({t}, '.') + 1)"
    return f"if(position({t}, '.') = 0, concat({t}, '.{zeros}'), concat({t}, {missing}))"


def _array(element: str, x: str, depth: int) -> str:
    """Write `{1,NULL,"b c"}`, whatever the depth."""
    v = f"_value{depth}"

    def item(name: str, inner: str, y: str) -> str:
        text = _text(name, inner, y, depth + 1)
        if name == "Array" or (kind_of(name) in {"number", "boolean", "date"} or name == "UUID"):
            return text
        quoted = f"concat('\"', replaceAll(replaceAll({text}, '\\\\', '\\\\\\\\'), '\"', '\\\\\"'), '\"')"
        return f"if(match({text}, '^$|^(?i:null)$|[{{}},\"\\\\\\\\[:space:]\\\\v]'), {quoted}, {text})"

    items = f"arrayMap({v} -> {_unwrapped(v, element, item, literal('NULL'))}, {x})"
    return f"concat('{{', arrayStringConcat({items}, ','), '}}')"


def _number(name: str, inner: str, x: str, text: str) -> str:
    marked = f"concat('!', {text})"
    if _INTEGER.fullmatch(name):
        least = "" if name.startswith("U") else f" AND {x} > -{_WHOLE}"
        return text if _SMALL.fullmatch(name) else f"if({x} < {_WHOLE}{least}, {text}, {marked})"
    if name == "Decimal":
        return _decimal_cell(inner, text)
    if name == "Date32":
        return f"if(toInt32({x}) >= -25508, toString(toInt32({x}) + 25569), {marked})"
    if name in {"DateTime", "DateTime64"}:
        return _moment(name, inner, x, marked)
    others = {"Bool": f"if({x}, '1', '0')", "Date": f"toString(toInt32({x}) + 25569)"}
    return others.get(name, f"if(isFinite({x}), {text}, {marked})")


def _decimal_cell(inner: str, text: str) -> str:
    if not is_wide_decimal(f"Decimal({inner})"):
        return text
    v = "_digits"
    digits = f"replaceRegexpOne(replaceRegexpOne({v}, '^[-0.]+', ''), '\\\\.?0+$', '')"
    marked = f"if(length(replaceOne({digits}, '.', '')) > {_DIGITS}, concat('!', {v}), {v})"
    short = f"length({text}) <= {_DIGITS}"
    rest = f"if({short}, emptyArrayString(), [{text}])"
    return f"if({short}, {text}, arrayElement(arrayMap({v} -> {marked}, {rest}), 1))"


def _moment(name: str, inner: str, x: str, marked: str) -> str:
    """Give the serial number of a moment, step by step as `postgres_cells` computes it."""
    day = f"toInt32(toDate{'32' if name == 'DateTime64' else ''}({x}))"
    second = f"(toHour({x}) * 3600 + toMinute({x}) * 60 + toSecond({x}))"
    fits = ""
    if name == "DateTime64":
        precision = int(inner.partition(",")[0])
        micro = f"positiveModulo(toUnixTimestamp64Micro({x}), 1000000)"
        second = f"(({second} * 1000000 + {micro}) / 1e6)"
        whole = f" AND toUnixTimestamp64Nano({x}) % 1000 = 0" if precision > 6 else ""  # noqa: PLR2004 -- microseconds
        fits = f"{day} >= -25508 AND ({day} < 39967 OR {micro} % 1000 = 0){whole}"
    near = f"(toFloat64({day} - 10957) * 86400 + {second}) / 86400.0 + 36526.0"
    far = f"toFloat64({day} + 25569) + {second} / 86400.0"
    serial = f"toString(if({_NEAR.format(d=day)}, {near}, {far}))"
    return f"if({fits}, {serial}, {marked})" if fits else serial
