"""Values as ClickHouse itself writes them: type by type equal to PostgreSQL's, by Debian's server and today's."""

from __future__ import annotations

import pytest

import clickhouse_cells
from csvfile import CsvDialect
from dwh import Kind
from dwh_clickhouse import ClickHouseWarehouse
from dwh_postgres import PostgresWarehouse
from faults.clickhouse import Server, Today
from tests.clickhouse_fixtures import clickhouse, today, todays, warehouse
from tests.clickhouse_types import EVERY_TYPE, TODAYS_TYPES, make_tables
from tests.warehouses import PLAIN, cells_of, csv_of, run

__all__ = ["clickhouse", "today", "todays", "warehouse"]  # fixtures


@pytest.mark.parametrize("dialect", [PLAIN, CsvDialect(), CsvDialect("\t"), CsvDialect(","), CsvDialect("-")])
def test_every_type_is_the_same_as_from_postgresql(
    empty_database: str, clickhouse: Server, warehouse: ClickHouseWarehouse, dialect: CsvDialect
) -> None:
    make_tables(EVERY_TYPE, lambda query: run(empty_database, query), clickhouse.run)
    postgres = PostgresWarehouse(empty_database)
    assert csv_of(warehouse, "every", dialect).splitlines() == csv_of(postgres, "every", dialect).splitlines()
    ours, theirs = cells_of(warehouse, "every"), cells_of(postgres, "every")
    assert ours == theirs
    kinds = [column.kind for column in warehouse.columns("every")]
    assert kinds == [column.kind for column in postgres.columns("every")]
    postgres.close()


@pytest.mark.parametrize("dialect", [PLAIN, CsvDialect("-")])
def test_every_type_of_todays_dialect_too(
    empty_database: str, today: Today, todays: ClickHouseWarehouse, dialect: CsvDialect
) -> None:
    types = EVERY_TYPE + TODAYS_TYPES
    make_tables(types, lambda query: run(empty_database, query), today.execute)
    postgres = PostgresWarehouse(empty_database)
    assert csv_of(todays, "every", dialect, 3).splitlines() == csv_of(postgres, "every", dialect).splitlines()
    assert cells_of(todays, "every") == cells_of(postgres, "every")
    kinds = [column.kind for column in todays.columns("every")]
    assert kinds == [column.kind for column in postgres.columns("every")]
    postgres.close()


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "parts", "bare"),
    [
        ("Int32", ("Int32", "", False), "Int32"),
        ("Nullable(Int32)", ("Int32", "", True), "Int32"),
        ("LowCardinality(Nullable(String))", ("String", "", True), "String"),
        ("SimpleAggregateFunction(sum, Decimal(38, 2))", ("Decimal", "38, 2", False), "Decimal(38, 2)"),
        ("Nullable(DateTime64(3, 'Europe/Moscow'))", ("DateTime64", "3, 'Europe/Moscow'", True), None),
        ("Array(Nullable(String))", ("Array", "Nullable(String)", False), "Array(Nullable(String))"),
        ("Enum8('a(b' = 1,\n'c' = 2)", ("Enum8", "'a(b' = 1,\n'c' = 2", False), None),
        ("no type at all", ("no type at all", "", False), "no type at all"),
    ],
)
def test_a_type_is_taken_out_of_its_wrappings(type_: str, parts: tuple[str, str, bool], bare: str | None) -> None:
    assert clickhouse_cells.split_type(type_) == parts
    assert clickhouse_cells.bare_type(type_) == (bare or f"{parts[0]}({parts[1]})")


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("Nullable(UInt64)", "number"),
        ("Float32", "number"),
        ("Decimal(9, 2)", "number"),
        ("LowCardinality(Nullable(Date))", "date"),
        ("Date32", "date"),
        ("DateTime('UTC')", "datetime"),
        ("DateTime64(6)", "datetime"),
        ("Nullable(Bool)", "boolean"),
        ("UUID", "text"),
        ("Interval", "text"),
        ("IntervalDay", "text"),
        ("Array(Int32)", "text"),
        ("Map(String, Int32)", "text"),
    ],
)
def test_what_is_no_number_date_or_flag_is_text(type_: str, kind: Kind) -> None:
    assert clickhouse_cells.kind_of(type_) == kind


@pytest.mark.parametrize(
    ("type_", "wide"),
    [
        ("Decimal(15, 2)", False),
        ("Decimal(16, 2)", True),
        ("Nullable(Decimal(38, 0))", True),
        ("Float64", False),
        ("Array(Decimal(38, 0))", False),
    ],
)
def test_decimals_past_fifteen_digits_are_wide(type_: str, *, wide: bool) -> None:
    assert clickhouse_cells.is_wide_decimal(type_) is wide


@pytest.mark.parametrize(
    ("type_", "zone"),
    [
        ("DateTime", ""),
        ("DateTime('Europe/Moscow')", "'Europe/Moscow'"),
        ("DateTime64(3)", ""),
        ("Nullable(DateTime64(3, 'Asia/Irkutsk'))", "'Asia/Irkutsk'"),
    ],
)
def test_a_moments_zone_is_the_one_that_its_type_names(type_: str, zone: str) -> None:
    name, inner, _ = clickhouse_cells.split_type(type_)
    assert clickhouse_cells.zone_of(name, inner) == zone


# --- quoting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "обычный", "'", "\\", "\\'", "`", "a\tb\r\nc\b\f\v", "100 %s %(p)s", "--; /* */"])
def test_a_text_of_our_own_arrives_as_it_is(clickhouse: Server, text: str) -> None:
    said = clickhouse.run(f"SELECT {clickhouse_cells.literal(text)}, length({clickhouse_cells.literal(text)})")
    assert said == [(text, len(text.encode()))]


@pytest.mark.parametrize("name", ["обычное имя", "a`b", "a\\b", "a\\`b", "100 %", "'", '"', "a.b", "; DROP TABLE t"])
def test_a_column_may_have_any_name(clickhouse: Server, name: str) -> None:
    with clickhouse.client() as client:
        rows, columns = client.execute(f"SELECT 7 AS {clickhouse_cells.identifier(name)}", with_column_types=True)
    assert (rows, [column for column, _ in columns]) == ([(7,)], [name])


def test_a_percent_sign_is_no_parameter(clickhouse: Server) -> None:
    query = f"SELECT %(p)s AS {clickhouse_cells.percent(clickhouse_cells.identifier('% %(p)s %d'))}"
    with clickhouse.client() as client:
        rows, columns = client.execute(query, {"p": 5}, with_column_types=True)
    assert (rows, [column for column, _ in columns]) == ([(5,)], ["% %(p)s %d"])


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delimiter", "safe", "field"),
    [
        (";", False, '"=1;2"'),
        (";", True, '"\'=1;2"'),
        (",", False, "=1;2"),
        (",", True, "'=1;2"),
    ],
)
def test_a_field_is_quoted_by_its_delimiter_and_guarded_where_asked(
    clickhouse: Server, delimiter: str, field: str, *, safe: bool
) -> None:
    wanted = clickhouse_cells.csv_field("a", "String", delimiter, safe=safe)
    assert clickhouse.run(f"SELECT {wanted} FROM (SELECT '=1;2' AS a)") == [(field,)]


def test_numbers_are_never_guarded_and_quoted_only_where_the_delimiter_is_theirs(clickhouse: Server) -> None:
    def fields(delimiter: str) -> list[tuple[str, str]]:
        wanted = [clickhouse_cells.csv_field("a", type_, delimiter, safe=True) for type_ in ("Int8", "Nullable(Int8)")]
        return list(clickhouse.run(f"SELECT {', '.join(wanted)} FROM (SELECT toInt8(-5) AS a)"))

    assert fields(";") == [("-5", "-5")]
    assert fields("-") == [('"-5"', '"-5"')]


def test_nothing_is_told_from_an_empty_text(clickhouse: Server) -> None:
    row = "SELECT CAST(NULL AS Nullable(String)) AS a, CAST('' AS Nullable(String)) AS b"
    fields = [clickhouse_cells.csv_field(name, "Nullable(String)", ";", safe=True) for name in "ab"]
    cells = [clickhouse_cells.cell(name, "Nullable(String)") for name in "ab"]
    assert clickhouse.run(f"SELECT {', '.join(fields + cells)} FROM ({row})") == [("", '""', "\\N", "")]


@pytest.mark.parametrize(
    ("value", "type_", "cell"),
    [
        ("toInt64(999999999999999)", "Int64", "999999999999999"),
        ("toInt64(1000000000000000)", "Int64", "!1000000000000000"),
        ("toInt64(-1000000000000000)", "Int64", "!-1000000000000000"),
        ("toUInt64(18446744073709551615)", "UInt64", "!18446744073709551615"),
        ("nan", "Float64", "!NaN"),
        ("-inf", "Float64", "!-Infinity"),
        ("toDate('1970-01-01')", "Date", "25569"),
        ("'a\\tb\\\\'", "String", "a\\tb\\\\"),
    ],
)
def test_what_a_double_or_a_sheet_cannot_hold_is_marked(clickhouse: Server, value: str, type_: str, cell: str) -> None:
    assert clickhouse.run(f"SELECT {clickhouse_cells.cell('a', type_)} FROM (SELECT {value} AS a)") == [(cell,)]
