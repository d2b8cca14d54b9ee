"""Conditions of an extract in ClickHouse's SQL, by the types of their columns; the values are the driver's to bind."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from clickhouse_cells import identifier, percent, split_type, zone_of
from dwh import Equals
from errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dwh import Condition

#: Days that the types can hold: a condition beyond them is not sent, for a server would wrap it around.
_DAYS = {
    "Date": (date(1970, 1, 1), date(2149, 6, 5)),
    "Date32": (date(1900, 1, 1), date(2299, 12, 30)),
    "DateTime": (date(1970, 1, 2), date(2105, 12, 30)),
    "DateTime64": (date(1900, 1, 2), date(2299, 12, 30)),
}
_TRUE = {"1": 1, "t": 1, "true": 1, "0": 0, "f": 0, "false": 0}


def condition_terms(condition: Condition, type_: str, values: dict[str, Any]) -> list[str]:
    """Give the terms that all hold for the condition's rows; their parameters are added to `values`."""
    column = percent(identifier(condition.column))
    name, inner, _ = split_type(type_)

    def bound(value: str | int) -> str:
        values[place := f"p{len(values)}"] = value
        return f"%({place})s"

    if isinstance(condition, Equals):
        return [_equals(column, name, inner, condition.value, bound)]
    if name not in _DAYS:
        terms = [f"{column} >= {bound(condition.start.isoformat())}"]
        if condition.finish != date.max:
            terms.append(f"{column} < {bound((condition.finish + timedelta(days=1)).isoformat())}")
        return terms
    first, last = _DAYS[name]
    if condition.start > last or condition.finish < first:
        return ["0"]
    terms = [f"isNotNull({column})"]
    if condition.start > first:
        terms.append(f"{column} >= {_midnight(condition.start, name, inner, bound)}")
    if condition.finish < last:
        terms.append(f"{column} < {_midnight(condition.finish + timedelta(days=1), name, inner, bound)}")
    return terms


def _midnight(day: date, name: str, inner: str, bound: Callable[[str | int], str]) -> str:
    if name == "Date":  # by its number: old servers read no text past 2105
        return f"toDate(toUInt16({bound((day - date(1970, 1, 1)).days)}))"
    if name == "Date32":
        return f"toDate32({bound(day.isoformat())})"
    zone = zone_of(name, inner)
    arguments = [bound(str(datetime(day.year, day.month, day.day)))]
    if name == "DateTime64":
        arguments.append(inner.partition(",")[0])
    return f"to{name}({', '.join([*arguments, *([percent(zone)] if zone else [])])})"


def _equals(column: str, name: str, inner: str, value: str | int, bound: Callable[[str | int], str]) -> str:
    """Compare as the column's type does: ClickHouse itself compares numbers with no text."""
    text = str(value).strip()
    try:
        if name.startswith(("Int", "UInt")):
            return f"{column} = {bound(int(text))}"
        if name.startswith("Float"):
            return f"{column} = to{name}({bound(repr(float(text)))})"
        if name == "Decimal":
            number, scale = Decimal(text), int(inner.partition(",")[2])
            fits = number.is_finite() and number.adjusted() < 38 - scale and number == round(number, scale)
            return f"{column} = toDecimal128({bound(format(number, 'f'))}, {scale})" if fits else "0"
        if name == "Bool":
            return f"{column} = {bound(_TRUE[text.lower()])}"
    except (ValueError, InvalidOperation, KeyError):
        raise UserError(f"значение условия не подходит к столбцу хранилища: «{text[:40]}»") from None
    if name in {"String", "FixedString", "UUID", "Date", "Date32", "DateTime", "DateTime64"}:
        return f"{column} = {bound(str(value))}"
    return f"toString({column}) = {bound(str(value))}"
