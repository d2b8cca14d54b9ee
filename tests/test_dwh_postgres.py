"""The warehouse in PostgreSQL, against a real server and psql."""

import io
import json
from datetime import date
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from csvfile import CsvDialect
from dwh import During, Equals, Extract, Page
from dwh_postgres import PostgresWarehouse
from errors import UserError, WarehouseError
from tests.warehouses import ODD_NAME, PLAIN, cells_of, csv_of, psql, run, warehouse

__all__ = ["warehouse"]  # a fixture


def test_views_partitioned_and_foreign_tables_have_columns_and_rows(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(
        empty_database,
        """CREATE TABLE parts (rownumber bigint, "Имя" text) PARTITION BY RANGE (rownumber);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (3);
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (3) TO (9);
        INSERT INTO parts SELECT g, 'имя ' || g FROM generate_series(1, 5) g;
        CREATE VIEW shown AS SELECT rownumber, "Имя", rownumber / 4.0 AS quarter FROM parts;
        CREATE MATERIALIZED VIEW kept AS SELECT * FROM shown""",
    )
    for table in ("parts", "shown", "public.kept"):
        assert csv_of(warehouse, table, limit=2).count(b"\n") == 6
    assert cells_of(warehouse, "shown")["quarter"][:2] == ["0.25000000000000000000", "0.50000000000000000000"]


@pytest.mark.parametrize("table", ["absent", "no_schema.absent"])
def test_an_absent_table_is_the_warehouses_fault(warehouse: PostgresWarehouse, table: str) -> None:
    with pytest.raises(WarehouseError, match="absent"):
        warehouse.columns(table)
    with pytest.raises(WarehouseError, match="absent"):
        warehouse.count(Extract(table, ()))


def test_a_table_of_a_key_alone_is_refused(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(empty_database, "CREATE TABLE lone (rownumber int)")
    with pytest.raises(WarehouseError, match="rownumber"):
        warehouse.columns("lone")


def test_names_need_no_care(empty_database: str, warehouse: PostgresWarehouse) -> None:
    name = ODD_NAME.replace('"', '""')
    run(
        empty_database,
        f"""CREATE SCHEMA "Схема %";
        CREATE TABLE "Схема %"."{name}" ("{name}№" int, "{name}" text, "case" int, source int);
        INSERT INTO "Схема %"."{name}" VALUES (3, 'в', 1, 1), (1, 'а', 3, 2), (2, 'б', 2, 3)""",
    )
    table = f'"Схема %"."{name}"'
    assert csv_of(warehouse, table).decode().splitlines()[1:] == ["а;3;2", "б;2;3", "в;1;1"]
    assert warehouse.count(Extract(table, (Equals(ODD_NAME, "б"), Equals("source", 3)))) == 1


@pytest.mark.parametrize("type_", ["integer", "bigint", "numeric", "numeric(20,0)", "smallint"])
def test_the_key_may_be_any_integer_and_have_gaps(
    empty_database: str, warehouse: PostgresWarehouse, type_: str
) -> None:
    run(
        empty_database,
        f"CREATE TABLE t (key {type_} PRIMARY KEY, a int);"
        "INSERT INTO t SELECT g * g, g FROM generate_series(100, 1, -1) g",
    )
    columns = warehouse.columns("t")
    file = io.BytesIO()
    page = warehouse.csv_page(Extract("t", ()), columns, 16, 3, PLAIN, file.write)
    assert (page, file.getvalue()) == (Page(3, 49), b"5\n6\n7\n")
    page = warehouse.cells_page(Extract("t", ()), columns, 9801, 3, file.write)
    assert page == Page(1, 10_000)
    assert warehouse.csv_page(Extract("t", ()), columns, 10_000, 3, PLAIN, file.write) == Page(0, 10_000)


def test_a_fresh_warehouse_can_begin_with_a_page(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(empty_database, "CREATE TABLE t AS SELECT 9 AS key, 'x' AS a")
    columns = PostgresWarehouse(empty_database)
    known = columns.columns("t")
    columns.close()
    assert warehouse.csv_page(Extract("t", ()), known, 0, 9, PLAIN, io.BytesIO().write) == Page(1, 9)


def test_no_rows_is_a_header_only(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(empty_database, 'CREATE TABLE t (rownumber bigint, "Имя" text)')
    assert csv_of(warehouse, "t", CsvDialect()).decode() == "\ufeffИмя\n"
    assert warehouse.count(Extract("t", ())) == 0


def test_a_table_may_have_sixteen_hundred_columns(empty_database: str, warehouse: PostgresWarehouse) -> None:
    names = ", ".join(f"c{n} int" for n in range(1599))
    run(
        empty_database,
        f"CREATE TABLE wide (rownumber bigint, {names}); INSERT INTO wide (rownumber, c1598) VALUES (1, 7)",
    )
    file = csv_of(warehouse, "wide", CsvDialect())
    assert file.splitlines()[1] == b";" * 1598 + b"7"
    assert cells_of(warehouse, "wide")["c1598"] == ["7"]


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz", "text", "varchar(40)"])
def test_a_period_takes_its_last_day_whole(empty_database: str, warehouse: PostgresWarehouse, type_: str) -> None:
    run(
        empty_database,
        f"""CREATE TABLE t (rownumber bigint, at {type_});
        INSERT INTO t VALUES (1, '2024-01-30 23:59:59.999999'), (2, '2024-01-31'), (3, '2024-02-01 00:00:00'),
            (4, '2024-02-29 23:59:59.999999'), (5, '2024-03-01 00:00'), (6, NULL)""",
    )
    period = Extract("t", (During("at", date(2024, 1, 31), date(2024, 2, 29)),))
    assert warehouse.count(period) == 3
    assert warehouse.count(Extract("t", (During("at", date(2024, 3, 1), date.max),))) == 1


def test_conditions_are_only_ever_data(empty_database: str, warehouse: PostgresWarehouse) -> None:
    evil = "'; DROP TABLE t; -- %s %(a)s \\' \" ;"
    run(empty_database, "CREATE TABLE t (rownumber bigint, a text)")
    with psycopg2.connect(empty_database) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, %s)", (evil,))
    connection.close()
    assert warehouse.count(Extract("t", (Equals("a", evil),))) == 1
    assert warehouse.count(Extract("t", (Equals("a", "'" * 10_000),))) == 0


@pytest.mark.parametrize("value", ["не число", "нуль\0внутри", "половина \ud83d пары"])
def test_a_value_that_can_never_fit_is_the_users_mistake(
    empty_database: str, warehouse: PostgresWarehouse, value: str
) -> None:
    run(empty_database, "CREATE TABLE t (rownumber bigint, n int)")
    with pytest.raises(UserError) as told:
        warehouse.count(Extract("t", (Equals("n", value),)))
    assert "\n" not in str(told.value)


def test_a_missing_column_is_the_warehouses_fault(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(empty_database, "CREATE TABLE t (rownumber bigint, n int)")
    with pytest.raises(WarehouseError, match="column"):
        warehouse.count(Extract("t", (Equals("нет такого", 1),)))
    assert warehouse.count(Extract("t", ())) == 0


@pytest.mark.parametrize("where", ["", "WHERE g % 3 = 0"])
def test_a_page_at_the_end_costs_what_the_first_did(
    empty_database: str, warehouse: PostgresWarehouse, where: str
) -> None:
    run(
        empty_database,
        f"""CREATE TABLE t AS SELECT g::bigint AS rownumber, 'станция ' || g % 3 AS station,
            timestamp '2024-01-01' + g * interval '1 minute' AS at, repeat('x', 100) AS rest
        FROM generate_series(1, 50000) g {where};
        CREATE UNIQUE INDEX ON t (rownumber); ANALYZE t""",
    )
    extract = Extract("t", (Equals("station", "станция 0"), During("at", date(2024, 1, 1), date(2024, 12, 31))))
    costs = [_plan(empty_database, warehouse, extract, after)["Total Cost"] for after in (0, 45_000)]
    assert costs[1] <= costs[0] * 1.1


def _plan(conninfo: str, warehouse: PostgresWarehouse, extract: Extract, after: int) -> dict[str, Any]:
    """The plan of a page as it was really asked for: an index scan and nothing sorted."""
    statements: list[str] = []

    class Spy(psycopg2.extensions.cursor):
        def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
            statements.append(sql)
            super().copy_expert(sql, file, size)

    columns = warehouse.columns(extract.table)
    assert warehouse._connection
    warehouse._connection.cursor_factory = Spy
    warehouse.csv_page(extract, columns, after, 1000, CsvDialect(), io.BytesIO().write)
    query = statements[0].strip().removeprefix("COPY (").rpartition(") TO STDOUT")[0]
    [(found,)] = run(conninfo, f"EXPLAIN (FORMAT json) {query}")
    text = json.dumps(found)
    assert '"Sort"' not in text
    assert '"Seq Scan"' not in text
    assert "Index Cond" in text
    plan: dict[str, Any] = found[0]["Plan"]
    return plan


def test_without_an_index_pages_are_slow_but_right(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(
        empty_database,
        """CREATE TABLE t AS SELECT g::bigint AS rownumber, g::bigint AS n, g::float8 AS f
        FROM generate_series(5000, 1, -1) g; ANALYZE t""",
    )
    assert csv_of(warehouse, "t", limit=700) == psql(empty_database, "select n, f from t order by 1")
    assert cells_of(warehouse, "t")["n"] == [str(n) for n in range(1, 5001)]
