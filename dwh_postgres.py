"""The warehouse in PostgreSQL: the server formats every value, a page is one COPY, rows never become objects."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from cells import MAX_CELL, shorten_cells
from csvfile import csv_header
from dwh import Column, Equals, Page, table_parts
from errors import SettingsError, UserError, WarehouseError
from postgres_cells import cell, csv_field, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from csvfile import CsvDialect
    from dwh import Condition, Extract

#: libpq parameters of a warehouse connection; what the DSN says itself wins. A server that vanishes without a word is
#: noticed within half a minute, also in the middle of a page.
CONNECTION = {
    "application_name": "tksva_q warehouse",
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",  # milliseconds
    "client_encoding": "UTF8",
}
#: Set with the connection itself, not by statements after it: behind a pooler those would stay on for other clients.
#: Compiling a page's expressions (jit) takes longer than it saves.
SESSION = "-c default_transaction_read_only=on -c DateStyle=ISO -c jit=off"
#: Milliseconds that the catalog may take to name the columns.
CATALOG_TIMEOUT = 10_000

#: A key plus this is 19 digits long, so that it comes off a row without looking for its end.
_KEY_BASE = 10**18
_PREFIX = 20

#: SQLSTATEs of a condition whose value is not one of the column's type.
_BAD_VALUE = {"22P02", "22007", "22008"}

_COLUMNS = """
SET LOCAL statement_timeout = {timeout};
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS modifier
    FROM pg_attribute a
    WHERE a.attrelid = to_regclass({table}) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attnum, b.attname, t.typbasetype, CASE WHEN b.modifier >= 0 THEN b.modifier ELSE t.typtypmod END
    FROM base b JOIN pg_type t ON t.oid = b.type AND t.typtype = 'd'
)
SELECT b.attname, format_type(b.type, b.modifier)
FROM base b JOIN pg_type t ON t.oid = b.type AND t.typtype <> 'd'
ORDER BY b.attnum"""

_PAGE = """
COPY (
    SELECT {key}::int8 + {base}, {fields} FROM {table} AS source
    WHERE {where} AND {key} > {after} ORDER BY {key} LIMIT {limit}
) TO STDOUT ({form})"""

_URL = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://"
    r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^/?\]]+)\]|(?P<host>[^/:?]*))"
    r"(?::(?P<port>\d*))?"
    r"(?:/(?P<dbname>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)


def dsn_of_url(url: str) -> str:
    """Turn an SQLAlchemy URL into a libpq connection string: passwords may hold what libpq's own URLs forbid."""
    wrong = SettingsError("DWH_URL: адрес PostgreSQL не понятен; пример: postgresql://user:password@host:5432/dwh")
    found = _URL.fullmatch(url)
    if not found:
        raise wrong
    parts = {name: unquote(value) for name, value in found.groupdict().items() if value}
    query = dict(parse_qsl(found["query"] or ""))
    parts.pop("query", None)
    if "ipv6" in parts:
        parts["host"] = parts.pop("ipv6")
    try:
        return psycopg2.extensions.make_dsn(**(parts | query))
    except psycopg2.ProgrammingError:  # a parameter that libpq does not know
        raise wrong from None


class PostgresWarehouse:
    """See `dwh.Warehouse`."""

    def __init__(self, dsn: str) -> None:
        """Remember a libpq connection string; nothing is connected yet."""
        self._dsn = dsn
        self._connection: psycopg2.extensions.connection | None = None
        self._keys: dict[str, str] = {}

    def columns(self, table: str) -> tuple[Column, ...]:
        """See `dwh.Warehouse.columns`."""
        query = sql.SQL(_COLUMNS).format(timeout=sql.Literal(CATALOG_TIMEOUT), table=sql.Literal(_quoted(table)))
        with self._cursor() as cursor:
            cursor.execute(query)
            found = [Column(name, kind_of(type_), type_) for name, type_ in cursor.fetchall()]
        if not found:
            raise WarehouseError(f"в хранилище нет таблицы {table}")
        if len(found) == 1:
            raise WarehouseError(f"в таблице хранилища {table} нет столбцов, кроме ключа «{found[0].name}»")
        self._keys[table] = found[0].name
        return tuple(found[1:])

    def count(self, extract: Extract) -> int:
        """See `dwh.Warehouse.count`."""
        query = sql.SQL("SELECT count(*) FROM {table} WHERE {where}")
        with self._cursor() as cursor:
            cursor.execute(_text(query.format(table=_table(extract.table), where=_where(extract)), cursor))
            return int(cursor.fetchall()[0][0])

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
        fields = [csv_field(column, safe=dialect.safe_formulas) for column in columns]
        form = sql.SQL("FORMAT csv, DELIMITER {}").format(sql.Literal(dialect.delimiter))
        return self._page(extract, fields, after, limit, form, _Rows(write))

    def cells_page(
        self,
        extract: Extract,
        columns: Sequence[Column],
        after: int,
        limit: int,
        write: Callable[[bytes], object],
    ) -> Page:
        """See `dwh.Warehouse.cells_page`."""
        return self._page(extract, [*map(cell, columns)], after, limit, sql.SQL("FORMAT text"), _CellRows(write))

    def close(self) -> None:
        """See `dwh.Warehouse.close`."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _page(  # noqa: PLR0913, PLR0917 -- the parts of one statement
        self,
        extract: Extract,
        fields: Sequence[sql.Composable],
        after: int,
        limit: int,
        form: sql.Composable,
        rows: _Rows,
    ) -> Page:
        if extract.table not in self._keys:
            self.columns(extract.table)
        query = sql.SQL(_PAGE).format(
            key=sql.Identifier("source", self._keys[extract.table]),
            base=sql.Literal(_KEY_BASE),
            fields=sql.SQL(", ").join(fields),
            table=_table(extract.table),
            where=_where(extract),
            after=sql.Literal(after),
            limit=sql.Literal(limit),
            form=form,
        )
        with self._cursor() as cursor:
            cursor.copy_expert(_text(query, cursor), rows)
            count = cursor.rowcount
        return Page(count, int(rows.last[: _PREFIX - 1]) - _KEY_BASE if count else after)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        """Give a cursor of a connection that works; whatever goes wrong, the next call begins with a new one."""
        try:
            if self._connection is None:
                self._connection = _connect(self._dsn)
            with self._connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            self.close()
            raise _judged(error) from error
        except BaseException:
            self.close()  # it may be in the middle of a COPY
            raise


class _Rows:
    """The file that a COPY goes into: it gets one row at a time, and passes it on without its key."""

    __slots__ = ("_write", "last")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.last = b""
        self._write = write

    def write(self, row: bytes) -> None:
        self.last = row
        self._write(row[_PREFIX:])


class _CellRows(_Rows):
    __slots__ = ()

    def write(self, row: bytes) -> None:
        self.last = row
        # Only a row this long can have a cell that is too long, and it is rare: every test in the server costs more.
        self._write(row[_PREFIX:] if len(row) <= MAX_CELL else shorten_cells(row[_PREFIX:]))


def _connect(dsn: str) -> psycopg2.extensions.connection:
    given = psycopg2.extensions.parse_dsn(dsn)
    options = f"{given.pop('options', '')} {SESSION}".strip()
    connection: psycopg2.extensions.connection = psycopg2.connect(**{**CONNECTION, **given, "options": options})
    connection.autocommit = True
    return connection


def _table(table: str) -> sql.Identifier:
    return sql.Identifier(*filter(None, table_parts(table)))


def _quoted(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table_parts(table) if part)


def _where(extract: Extract) -> sql.Composable:
    return sql.SQL(" AND ").join([sql.SQL("true"), *map(_condition, extract.where)])


def _condition(condition: Condition) -> sql.Composable:
    """Compare with literals that have no type, so that the column's own type decides."""
    column = sql.Identifier(condition.column)
    if isinstance(condition, Equals):
        return sql.SQL("{} = {}").format(column, sql.Literal(str(condition.value)))
    start = sql.SQL("{} >= {}").format(column, sql.Literal(condition.start.isoformat()))
    if condition.finish == date.max:
        return start
    end = sql.Literal((condition.finish + timedelta(days=1)).isoformat())
    return sql.SQL("{} AND {} < {}").format(start, column, end)


def _text(query: sql.Composable, cursor: psycopg2.extensions.cursor) -> str:
    try:
        return query.as_string(cursor)
    except ValueError as error:
        raise UserError(f"условие отбора не годится для хранилища: {error}") from error


def _judged(error: psycopg2.Error) -> UserError | WarehouseError:
    """Tell the request's mistake from the warehouse's fault; the message is one line."""
    reason = (error.diag.message_primary or str(error) or type(error).__name__).strip().replace("\n", " ")
    if error.pgcode in _BAD_VALUE:
        return UserError(f"значение условия не подходит к столбцу хранилища: {reason}")
    return WarehouseError(f"хранилище: {reason}")
