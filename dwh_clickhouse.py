"""The warehouse in ClickHouse, over its native protocol: the server formats every row, the driver moves one string."""

from __future__ import annotations

import itertools
import math
import ssl
import uuid
from collections import deque
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickhouse_driver import Client  # type: ignore[import-untyped]
from clickhouse_driver.errors import Error, ErrorCodes, ServerException  # type: ignore[import-untyped]

from cells import MAX_CELL, cell_encoder, shorten_cells
from clickhouse_cells import bare_type, cell, csv_field, identifier, is_wide_decimal, kind_of, literal, percent
from clickhouse_conditions import condition_terms
from clickhouse_guard import Guard
from csvfile import csv_header
from dwh import Column, Page, table_parts
from errors import UserError, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from csvfile import CsvDialect
    from dwh import Extract
    from settings import Settings

#: Rows that are in memory at a time.
BATCH = 8192

#: How the connection behaves; a server that vanishes without a word is noticed within half a minute: a living one
#: reports its progress ten times a second. Blocks come compressed: the network is slower than lz4.
CONNECTION = {
    "client_name": "tksva_q warehouse",
    "connect_timeout": 5,
    "send_receive_timeout": 30,
    "sync_request_timeout": 5,
    "tcp_keepalive": (10, 5, 3),
    "compression": "lz4",
}
#: A table may have a thousand columns, each with an expression of its own. A client that is gone is noticed when the
#: progress is reported to it, every `interactive_delay` microseconds.
QUERY = {
    "max_block_size": BATCH,
    "interactive_delay": 100_000,
    "max_query_size": 1 << 26,
    "max_ast_elements": 10_000_000,
    "max_expanded_ast_elements": 100_000_000,
}

#: The authorities that the administrator trusts.
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

#: Errors of a condition whose value is not one of the column's type.
_BAD_VALUE = {
    ErrorCodes.CANNOT_PARSE_TEXT,
    ErrorCodes.CANNOT_PARSE_DATE,
    ErrorCodes.CANNOT_PARSE_DATETIME,
    ErrorCodes.CANNOT_PARSE_NUMBER,
    ErrorCodes.CANNOT_PARSE_UUID,
    ErrorCodes.CANNOT_CONVERT_TYPE,
    ErrorCodes.TYPE_MISMATCH,
}

_COLUMNS = """SELECT name, type FROM system.columns
WHERE database = %(database)s AND table = %(table)s AND default_kind NOT IN ('MATERIALIZED', 'ALIAS', 'EPHEMERAL')"""

_COUNT = "SELECT count() FROM {table} WHERE {where}"
# The last key first: then the page reads only its own rows, and its conditions' columns alone are read beyond them.
# As a subquery it would not end with its client, for a server hears nothing while it is still planning.
_LAST = """SELECT toInt64(max({key})), count() FROM (
    SELECT {key} FROM {table} WHERE {where} AND {key} > %(after)s ORDER BY {key} LIMIT %(limit)s)"""
_PAGE = """SELECT toInt64({key}), concat({fields}, '\\n') FROM {table}
WHERE {where} AND {key} > %(after)s AND {key} <= %(last)s ORDER BY {key} LIMIT %(limit)s"""


class ClickHouseWarehouse:
    """See `dwh.Warehouse`."""

    def __init__(self, settings: Settings) -> None:
        """Remember the CLICK_* keys and the time limit of a query; nothing is connected yet."""
        self._database = settings.click_dbname or "default"
        self._options: dict[str, Any] = {
            **CONNECTION,
            "host": settings.click_host,
            "port": settings.click_port,
            "database": self._database,
            "user": settings.click_user or "default",
            "password": settings.click_pwd.get_secret_value(),
            "secure": settings.click_secure,
            "verify": settings.click_verify,
            "ca_certs": _authorities(),
        }
        self._query = {**QUERY, "max_execution_time": math.ceil(settings.job_timeout)}
        self._client: Client | None = None
        self._guard: Guard | None = None
        self._prefix = f"tksva_q-{uuid.uuid4()}-"
        self._ids = (f"{self._prefix}{number}" for number in itertools.count(1))
        self._tables: dict[str, dict[str, str]] = {}

    def columns(self, table: str) -> tuple[Column, ...]:
        """See `dwh.Warehouse.columns`."""
        self._tables.pop(table, None)
        (key, _), *rest = self._types(table).items()
        if not rest:
            raise WarehouseError(f"в таблице хранилища {table} нет столбцов, кроме ключа «{key}»")
        return tuple(Column(name, kind_of(type_), bare_type(type_)) for name, type_ in rest)

    def count(self, extract: Extract) -> int:
        """See `dwh.Warehouse.count`."""
        where, values = self._where(extract)
        [(rows,)] = self._all(_COUNT.format(table=self._name(extract.table), where=where), values)
        return int(rows)

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
        delimiter = dialect.delimiter
        types = self._types(extract.table)
        fields = [csv_field(c.name, _type(c, types), delimiter, safe=dialect.safe_formulas) for c in columns]
        return self._page(extract, fields, delimiter, after, limit, lambda rows: write(_utf8(b"".join(rows))))

    def cells_page(
        self,
        extract: Extract,
        columns: Sequence[Column],
        after: int,
        limit: int,
        write: Callable[[bytes], object],
    ) -> Page:
        """See `dwh.Warehouse.cells_page`."""
        types = self._types(extract.table)
        fields = [cell(column.name, _type(column, types)) for column in columns]
        wide = {n: cell_encoder(column) for n, column in enumerate(columns) if is_wide_decimal(column.type)}

        def put(rows: Sequence[bytes]) -> None:
            block = _utf8(b"".join(rows))
            rows = block.splitlines(keepends=True)
            if (wide and b"!" in block) or max(map(len, rows)) > MAX_CELL:
                rows = [_finished(row, wide) for row in rows]
            deque(map(write, rows), 0)  # one by one, so that a workbook's blocks begin where they do from PostgreSQL

        return self._page(extract, fields, "\t", after, limit, put)

    def close(self) -> None:
        """See `dwh.Warehouse.close`."""
        self._drop(kill=False)

    def _drop(self, *, kill: bool) -> None:
        client, guard, self._client, self._guard = self._client, self._guard, None, None
        if client:
            client.disconnect()
        if guard:
            guard.end(kill=kill)

    def _page(  # noqa: PLR0913, PLR0917 -- the parts of one statement
        self,
        extract: Extract,
        fields: Sequence[str],
        delimiter: str,
        after: int,
        limit: int,
        put: Callable[[Sequence[bytes]], object],
    ) -> Page:
        key = identifier(next(iter(self._types(extract.table))))
        table, (where, values) = self._name(extract.table), self._where(extract)
        values |= {"after": after, "limit": limit}
        [(last, rows)] = self._all(_LAST.format(key=key, table=table, where=where), values)
        if not rows:
            return Page(0, after)
        row = percent(f", {literal(delimiter)}, ".join(fields))
        query = _PAGE.format(key=key, fields=row, table=table, where=where)
        page = Page(0, after)
        with self._connected() as client:
            values |= {"last": last}
            for batch in client.execute_iter(query, values, query_id=next(self._ids), chunk_size=BATCH):
                keys, lines = zip(*batch, strict=True)
                put(lines)
                page = Page(page.rows + len(lines), keys[-1])
        return page

    def _types(self, table: str) -> dict[str, str]:
        """Give the types of the table's columns by their names, the key first."""
        if table not in self._tables:
            schema, name = table_parts(table)
            found = self._all(_COLUMNS, {"database": schema or self._database, "table": name})
            if not found:
                raise WarehouseError(f"в хранилище нет таблицы {table}")
            self._tables[table] = {name.decode(): type_.decode() for name, type_ in found}
        return self._tables[table]

    def _name(self, table: str) -> str:
        schema, name = table_parts(table)
        return percent(f"{identifier(schema or self._database)}.{identifier(name)}")

    def _where(self, extract: Extract) -> tuple[str, dict[str, Any]]:
        """Give the conditions as SQL, and the values of its parameters."""
        types, values = self._types(extract.table), dict[str, Any]()
        terms = ["1"]
        for condition in extract.where:
            if condition.column not in types:
                raise WarehouseError(f"в таблице хранилища {extract.table} нет столбца «{condition.column}»")
            terms += condition_terms(condition, types[condition.column], values)
        return " AND ".join(terms), values

    def _all(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._connected() as client:
            rows: list[tuple[Any, ...]] = client.execute(query, values, query_id=next(self._ids))
            return rows

    def _connect(self) -> Client:
        client = Client(**self._options, settings={**self._query, "strings_as_bytes": True})
        try:
            client.execute("SELECT 1")
        except ServerException as error:
            client.disconnect()
            if error.code != ErrorCodes.READONLY or not self._query:
                raise
            self._query = {}  # a user who may not set anything reads by the server's own settings
            return self._connect()
        self._guard = Guard(self._options, self._prefix)
        return client

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        """Give a client that works; whatever goes wrong, its query ends with it and the next call begins anew."""
        try:
            if self._client is None:
                # Text that is not UTF-8 must not end a page, and bytes need no decoding.
                self._client = self._connect()
            yield self._client
        except (Error, EOFError, OSError) as error:
            self._drop(kill=True)
            raise _judged(error) from error
        except UnicodeEncodeError as error:
            self._drop(kill=True)
            raise UserError(f"условие отбора не годится для хранилища: {error.reason}") from error
        except BaseException:
            self._drop(kill=True)  # it may be in the middle of a page
            raise


def _authorities() -> str | None:
    """Give the file of the certificates that this machine trusts; the driver would take a list of its own."""
    found = ssl.get_default_verify_paths().cafile
    return found or (str(_AUTHORITIES) if _AUTHORITIES.exists() else None)


def _type(column: Column, types: dict[str, str]) -> str:
    if column.name not in types:
        raise WarehouseError(f"в таблице хранилища больше нет столбца «{column.name}»")
    return types[column.name]


def _utf8(block: bytes) -> bytes:
    """Replace what is not UTF-8: ClickHouse's strings may hold any bytes, the files may not."""
    try:
        block.decode()
    except UnicodeDecodeError:
        return block.decode(errors="replace").encode()
    return block


def _finished(row: bytes, wide: dict[int, Callable[[object], str]]) -> bytes:
    """Do to a row of cells what the server cannot: tell which wide decimals a double holds, cut long texts."""
    if wide and b"!" in row:
        fields = row[:-1].split(b"\t")
        for place, encode in wide.items():
            if fields[place].startswith(b"!"):
                fields[place] = encode(Decimal(fields[place][1:].decode())).encode()
        row = b"\t".join(fields) + b"\n"
    return row if len(row) <= MAX_CELL else shorten_cells(row)


def _judged(error: Error | EOFError | OSError) -> UserError | WarehouseError:
    """Tell the request's mistake from the warehouse's fault; the message is one line."""
    text = error.message if isinstance(error, ServerException) else str(error)
    reason = text.partition("Stack trace:")[0].strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, ServerException) and error.code in _BAD_VALUE:
        return UserError(f"значение условия не подходит к столбцу хранилища: {reason}")
    return WarehouseError(f"хранилище: {reason}")
