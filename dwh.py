"""What the warehouse can do, whichever it is: columns, count, and pages by key as CSV or as cells.

The key is the table's first column (`rownumber`): integers, unique, indexed, never exported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol

from errors import SettingsError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from csvfile import CsvDialect
    from settings import Settings

_PART = r'("(?:[^"]|"")+"|[^".][^.]*)'
_TABLE = re.compile(rf"(?:{_PART}\.)?{_PART}", re.DOTALL)

#: How a spreadsheet shows the column.
Kind = Literal["text", "number", "boolean", "date", "datetime", "time"]


@dataclass(frozen=True)
class Column:
    """One exported column."""

    name: str
    kind: Kind
    #: The warehouse's own name of the type, domains resolved: `numeric(12,2)`.
    type: str


@dataclass(frozen=True)
class Equals:
    """Rows where the column equals the value."""

    column: str
    value: str | int


@dataclass(frozen=True)
class During:
    """Rows from the beginning of one day to the end of another, both included.

    The column holds dates, timestamps (with a time zone: days of the warehouse's session) or ISO dates as text.
    """

    column: str
    start: date
    finish: date


Condition = Equals | During


@dataclass(frozen=True)
class Extract:
    """Which rows of which table."""

    #: `table` or `schema.table`, to the letter; a part that has a dot itself stands in double quotes.
    table: str
    #: All of them hold.
    where: tuple[Condition, ...]


@dataclass(frozen=True)
class Page:
    """What a page has given."""

    rows: int
    #: Key of the last row, `after` of the next page; on an empty page the `after` that was given.
    last_key: int


class Warehouse(Protocol):
    """A warehouse, connected at its first call; used by one thread at a time.

    Every method raises WarehouseError where the warehouse fails (the next call connects anew) and UserError where the
    request can never be answered. What `write` raises passes through.
    """

    def columns(self, table: str) -> tuple[Column, ...]:
        """Give the exported columns in the table's order: all but the first, the key."""

    def count(self, extract: Extract) -> int:
        """Count the rows of the extract."""

    def csv_header(self, columns: tuple[Column, ...], dialect: CsvDialect) -> bytes:
        """Give the beginning of the file: the mark where the dialect asks for it, and the names as the first row."""

    def csv_page(  # noqa: PLR0913, PLR0917 -- what, where from, how much, how, where to
        self,
        extract: Extract,
        columns: tuple[Column, ...],
        after: int,
        limit: int,
        dialect: CsvDialect,
        write: Callable[[bytes], object],
    ) -> Page:
        """Write at most `limit` rows whose key is greater than `after` (0 at the beginning), by key, as CSV.

        `write` gets whole rows, one or more at a time.
        """

    def cells_page(
        self,
        extract: Extract,
        columns: tuple[Column, ...],
        after: int,
        limit: int,
        write: Callable[[bytes], object],
    ) -> Page:
        """Write the same rows in the form described in `cells.py`, from which spreadsheets are made."""

    def close(self) -> None:
        """Give the connection back; the next call would connect anew."""


def open_warehouse(settings: Settings) -> Warehouse:
    """Give the warehouse that the settings name: ClickHouse, the one of DWH_URL, or the job table's PostgreSQL.

    Only the client that is needed is imported: SQLAlchemy alone costs a child more than it takes to start a page.
    """
    if settings.click_host:
        try:
            from dwh_clickhouse import ClickHouseWarehouse  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise _no_module(error.name) from error
        return ClickHouseWarehouse(settings)
    url = settings.dwh_url.get_secret_value() if settings.dwh_url else ""
    if url and not url.startswith(("postgresql:", "postgresql+", "postgres:")):
        from dwh_sqlalchemy import SqlAlchemyWarehouse  # noqa: PLC0415

        return SqlAlchemyWarehouse(url)
    from dwh_postgres import PostgresWarehouse, dsn_of_url  # noqa: PLC0415

    if url:
        return PostgresWarehouse(dsn_of_url(url))
    import db  # noqa: PLC0415

    return PostgresWarehouse(db.dsn(settings))


def check(settings: Settings) -> None:
    """Raise SettingsError where `open_warehouse` would; connects to nothing.

    The service itself needs no client of a warehouse: SQLAlchemy alone is imported, where it is to find a driver.
    """
    if settings.click_host:
        if find_spec("clickhouse_driver") is None:
            raise _no_module("clickhouse_driver")
    elif settings.dwh_url:  # without it the warehouse would start the embedded PostgreSQL
        open_warehouse(settings).close()


def _no_module(name: str | None) -> SettingsError:
    return SettingsError(f"CLICK_HOST: нет модуля {name}; пример установки: pip install -r requirements-clickhouse.txt")


def table_parts(table: str) -> tuple[str | None, str]:
    """Split `schema.table` into schema (None where there is none) and table; raises UserError on anything else."""
    found = _TABLE.fullmatch(table)
    if not found:
        raise UserError(f"имя таблицы «{table}» не понятно, нужно: схема.таблица")
    schema, name = (part[1:-1].replace('""', '"') if part and part.startswith('"') else part for part in found.groups())
    return schema, name or ""
