"""The warehouse behind any SQLAlchemy URL: rows are streamed as Python values and written here, so it is slower."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import types

from cells import cell_encoder, csv_encoder
from csvfile import csv_header
from dwh import Column, Equals, Page, table_parts
from errors import SettingsError, UserError, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from csvfile import CsvDialect
    from dwh import Condition, Extract, Kind

_Query = sa.Select[*tuple[Any, ...]]
_Result = sa.Result[*tuple[Any, ...]]

#: Rows that are in memory at a time.
BATCH = 1000

_EXAMPLE = "mysql+pymysql://user:password@host/dwh"

#: The first that fits is the kind; whatever is none of them is text.
_KINDS: tuple[tuple[type[types.TypeEngine[Any]], Kind], ...] = (
    (types.Boolean, "boolean"),
    (types.DateTime, "datetime"),
    (types.Date, "date"),
    (types.Time, "time"),
    (types.Integer, "number"),
    (types.Numeric, "number"),
    (types.Float, "number"),
)


class SqlAlchemyWarehouse:
    """See `dwh.Warehouse`."""

    def __init__(self, url: str) -> None:
        """Prepare an engine for the URL; nothing is connected yet. Raises SettingsError where there is no driver."""
        try:
            self._engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise SettingsError(f"DWH_URL: {error}; пример: {_EXAMPLE}") from error
        except ValueError:  # not shown: a piece of a password may stand where the port belongs
            raise SettingsError(f"DWH_URL: адрес не понятен; пример: {_EXAMPLE}") from None
        self._tables: dict[str, sa.TableClause] = {}

    def columns(self, table: str) -> tuple[Column, ...]:
        """See `dwh.Warehouse.columns`."""
        self._tables.pop(table, None)
        names = self._table(table).c
        if len(names) == 1:
            raise WarehouseError(f"в таблице хранилища {table} нет столбцов, кроме ключа «{names[0].name}»")
        return tuple(Column(column.name, _kind(column.type), self._type_name(column.type)) for column in names[1:])

    def count(self, extract: Extract) -> int:
        """See `dwh.Warehouse.count`."""
        table = self._table(extract.table)
        query = sa.select(sa.func.count()).select_from(table).where(*self._where(table, extract))
        with self._rows(query) as result:
            return int(result.scalar_one())

    def csv_header(self, columns: Sequence[Column], dialect: CsvDialect) -> bytes:
        """See `dwh.Warehouse.csv_header`."""
        return csv_header(columns, dialect)

    def csv_page(  # noqa: PLR0913, PLR0917 -- see `dwh.Warehouse`
        self,
        extract: Extract,
        columns: Sequence[Column],
        after: int,
        limit: int,
        dialect: CsvDialect,
        write: Callable[[bytes], object],
    ) -> Page:
        """See `dwh.Warehouse.csv_page`."""
        encoders = [csv_encoder(column, dialect) for column in columns]
        with self._rows(self._page(extract, columns, after, limit)) as result:
            return _write(result, encoders, dialect.delimiter, write, Page(0, after))

    def cells_page(
        self,
        extract: Extract,
        columns: Sequence[Column],
        after: int,
        limit: int,
        write: Callable[[bytes], object],
    ) -> Page:
        """See `dwh.Warehouse.cells_page`."""
        encoders = [cell_encoder(column) for column in columns]
        with self._rows(self._page(extract, columns, after, limit)) as result:
            return _write(result, encoders, "\t", write, Page(0, after))

    def close(self) -> None:
        """See `dwh.Warehouse.close`."""
        self._engine.dispose()

    def _table(self, name: str) -> sa.TableClause:
        """Give the table with the types of its columns, as the warehouse describes it."""
        if name not in self._tables:
            schema, table = table_parts(name)
            with _faults():
                inspector = sa.inspect(self._engine)
                if self._engine.dialect.name == "sqlite" and schema not in inspector.get_schema_names():
                    schema = None  # SQLite has schemas only where another file is attached
                try:
                    columns = inspector.get_columns(table, schema)
                except sa.exc.NoSuchTableError:
                    columns = []
            if not columns:
                raise WarehouseError(f"в хранилище нет таблицы {name}")
            typed = [sa.column(column["name"], _base(column["type"])) for column in columns]
            self._tables[name] = sa.table(table, *typed, schema=schema)
        return self._tables[name]

    def _type_name(self, type_: types.TypeEngine[Any]) -> str:
        return "" if isinstance(type_, types.NullType) else type_.compile(self._engine.dialect)

    def _page(self, extract: Extract, columns: Sequence[Column], after: int, limit: int) -> _Query:
        table = self._table(extract.table)
        key = next(iter(table.c))
        names = [key.name, *(column.name for column in columns)]
        # Without a type the values come as the driver gives them: `cells.py` knows better what to make of them.
        values = [sa.type_coerce(table.c[name], types.NullType()).label(f"c{n}") for n, name in enumerate(names)]
        return sa.select(*values).where(*self._where(table, extract), key > after).order_by(key).limit(limit)

    def _where(self, table: sa.TableClause, extract: Extract) -> Iterator[sa.ColumnElement[bool]]:
        for condition in extract.where:
            if condition.column not in table.c:
                raise WarehouseError(f"в таблице хранилища {extract.table} нет столбца «{condition.column}»")
            yield _condition(table.c[condition.column], condition, as_text=self._engine.dialect.name == "sqlite")

    @contextmanager
    def _rows(self, query: _Query) -> Iterator[_Result]:
        """Give the result, streamed; nothing is held open afterwards."""
        with _faults(), self._engine.connect() as connection:
            try:
                result = connection.execute(query, execution_options={"yield_per": BATCH})
            except (ValueError, OverflowError) as error:  # the driver cannot even send it
                raise UserError(f"условие отбора не годится для хранилища: {error}") from error
            yield result


def _write(
    result: _Result,
    encoders: Sequence[Callable[[object], str]],
    delimiter: str,
    write: Callable[[bytes], object],
    page: Page,
) -> Page:
    for rows in result.partitions():
        lines = [
            delimiter.join([encode(value) for encode, value in zip(encoders, row[1:], strict=True)]) for row in rows
        ]
        write(("\n".join(lines) + "\n").encode(errors="replace"))
        page = Page(page.rows + len(rows), int(rows[-1][0]))
    return page


def _base(type_: types.TypeEngine[Any]) -> types.TypeEngine[Any]:
    """Give the type under a domain."""
    while isinstance(inner := getattr(type_, "data_type", None), types.TypeEngine):
        type_ = inner
    return type_


def _kind(type_: types.TypeEngine[Any]) -> Kind:
    if isinstance(type_, types.Time) and type_.timezone:
        return "text"
    return next((kind for base, kind in _KINDS if isinstance(type_, base)), "text")


def _condition(column: sa.ColumnClause[Any], condition: Condition, *, as_text: bool) -> sa.ColumnElement[bool]:
    if isinstance(condition, Equals):
        return column == _literal(condition.value, column.type)
    start, finish = condition.start, condition.finish
    moment: Callable[[date], date | str] = _midnight if isinstance(column.type, types.DateTime) else _same
    if as_text or not isinstance(column.type, types.Date | types.DateTime):
        moment = date.isoformat  # the beginning of every ISO date and timestamp of that day
    begins = column >= sa.literal(moment(start))
    return begins if finish == date.max else begins & (column < sa.literal(moment(finish + timedelta(days=1))))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min)


def _same(day: date) -> date:
    return day


def _literal(value: str | int, type_: types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    if not isinstance(type_, types.Integer | types.Numeric):
        return sa.literal(str(value))
    try:
        return sa.literal(int(value) if isinstance(type_, types.Integer) else Decimal(value))
    except (ValueError, InvalidOperation):
        raise UserError(f"значение условия не подходит к столбцу хранилища: «{value}» не число") from None


@contextmanager
def _faults() -> Iterator[None]:
    """Turn SQLAlchemy's errors into ours, in one line without the statement."""
    try:
        yield
    except sa.exc.DataError as error:
        raise UserError(f"значение условия не подходит к столбцу хранилища: {_reason(error)}") from error
    except sa.exc.SQLAlchemyError as error:
        raise WarehouseError(f"хранилище: {_reason(error)}") from error


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error)
    return text.strip().partition("\n")[0]
