"""What a form's `conditions` must be: a dataclass of the form's fields, filled from JSON or refused with a reason."""

import dataclasses
import datetime
import json
import re
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: Characters a name of a station or a railway may have at most.
LONGEST_TEXT = 255

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f;]")

C = TypeVar("C", bound="DataclassInstance")


@dataclasses.dataclass(frozen=True)
class Period:
    """The days a form asks for, both ends included."""

    start_date: datetime.date
    finish_date: datetime.date

    def __post_init__(self) -> None:
        """Refuse a period that ends before it begins."""
        if self.finish_date < self.start_date:
            raise UserError(f"finish_date {self.finish_date} раньше, чем start_date {self.start_date}")


def parse(wanted: type[C], params: str | None) -> C:
    """Fill the dataclass `wanted` from the JSON text of a form's conditions; unknown keys are left alone.

    Raises:
        UserError: not an object, a field missing or not what its type says.
    """
    try:
        values = json.loads(params) if params is not None else None
    except (ValueError, RecursionError):
        raise UserError("conditions: это не разобрать как JSON") from None
    if not isinstance(values, dict):
        raise UserError('conditions: нужен объект, например {"start_date": "2024-01-01", …}')
    kinds = typing.get_type_hints(wanted)
    fields = dataclasses.fields(wanted)
    return wanted(**{field.name: _field(field.name, kinds[field.name], values) for field in fields})


def example(wanted: type[C]) -> C:
    """Fill the dataclass `wanted` with made-up values that are of the right kind."""
    kinds = typing.get_type_hints(wanted)
    today = datetime.date(2024, 1, 31)
    return wanted(
        **{field.name: today if kinds[field.name] is datetime.date else "…" for field in dataclasses.fields(wanted)}
    )


def _field(name: str, kind: type, values: dict[str, Any]) -> str | datetime.date:
    value = values.get(name)
    if value is None:
        raise UserError(f"conditions: нет поля {name}")
    if not isinstance(value, str):
        raise UserError(f"{name}: нужна строка")
    return _date(name, value) if kind is datetime.date else _text(name, value)


def _text(name: str, value: str) -> str:
    if not value.strip():
        raise UserError(f"{name}: пусто")
    if len(value) > LONGEST_TEXT:
        raise UserError(f"{name}: {len(value)} символов, допустимо не больше {LONGEST_TEXT}")
    if _FORBIDDEN.search(value):
        raise UserError(f"{name}: управляющие символы и «;» недопустимы")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{name}: половина суррогатной пары вместо символа") from None
    return value


def _date(name: str, value: str) -> datetime.date:
    if not _DATE.fullmatch(value):
        raise UserError(f"{name}: нужна дата вида 2024-01-31, а не {value[:40]!r}")
    try:
        return datetime.date.fromisoformat(value)
    except ValueError:
        raise UserError(f"{name}: дня {value} нет в календаре") from None
