"""The warehouse in PostgreSQL, against a real server and psql."""

import io
import json
import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from csvfile import CsvDialect
from dwh import During, Equals, Extract, Page
from dwh_postgres import PostgresWarehouse, dsn_of_url
from errors import SettingsError, StorageError, UserError, WarehouseError
from tests.conftest import wait_for
from tests.warehouses import ODD_NAME, PLAIN, cells_of, csv_of, psql, run


@pytest.fixture
def warehouse(empty_database: str) -> Iterator[PostgresWarehouse]:
    opened = PostgresWarehouse(empty_database)
    yield opened
    opened.close()


def _name(conninfo: str) -> str:
    return f'"{psycopg2.extensions.parse_dsn(conninfo)["dbname"]}"'


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


def test_sixteen_hundred_columns(empty_database: str, warehouse: PostgresWarehouse) -> None:
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


def test_the_session_is_named_read_only_and_asks_for_iso_dates(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(empty_database, "CREATE TABLE t AS SELECT 1 AS rownumber, date '2024-01-31' AS day")
    run(empty_database, f"ALTER DATABASE {_name(empty_database)} SET DateStyle = 'German'")
    run(empty_database, "CREATE FUNCTION spoil() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (2) RETURNING 1'")
    run(empty_database, "CREATE VIEW evil AS SELECT rownumber, spoil() FROM t")
    assert csv_of(warehouse, "t") == b"day\n2024-01-31\n"
    with pytest.raises(WarehouseError, match="read-only"):
        csv_of(warehouse, "evil")
    warehouse.count(Extract("t", ()))
    states = run(
        empty_database,
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND application_name = 'tksva_q warehouse'",
    )
    assert states == [("idle",)]


def test_what_the_dsn_says_itself_is_kept(empty_database: str) -> None:
    run(empty_database, "CREATE SCHEMA hidden; CREATE TABLE hidden.t AS SELECT 1 AS rownumber, 2 AS a")
    dsn = psycopg2.extensions.make_dsn(empty_database, options="-c search_path=hidden", application_name="mine")
    warehouse = PostgresWarehouse(dsn)
    assert warehouse.count(Extract("t", ())) == 1
    assert run(empty_database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine'") == [(1,)]
    warehouse.close()


def test_a_lost_connection_is_told_and_the_next_call_has_a_new_one(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(empty_database, "CREATE TABLE t AS SELECT 1 AS rownumber, 2 AS a")
    extract = Extract("t", ())
    assert warehouse.count(extract) == 1
    run(
        empty_database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q%'",
    )
    with pytest.raises(WarehouseError):
        warehouse.count(extract)
    assert warehouse.count(extract) == 1


def test_a_connection_lost_in_the_middle_of_a_page_is_told(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(
        empty_database,
        "CREATE TABLE t AS SELECT g AS rownumber, repeat('x', 1000) AS a FROM generate_series(1, 50000) g",
    )
    columns = warehouse.columns("t")
    assert warehouse._connection
    pid = warehouse._connection.info.backend_pid
    killed = threading.Event()

    def write(_: bytes) -> None:
        if not killed.is_set():
            run(empty_database, f"SELECT pg_terminate_backend({pid}, 5000)")
            killed.set()

    with pytest.raises(WarehouseError):
        warehouse.csv_page(Extract("t", ()), columns, 0, 50_000, PLAIN, write)
    assert warehouse.count(Extract("t", ())) == 50_000


def test_what_the_writer_raises_passes_through_and_the_page_is_abandoned(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(
        empty_database,
        "CREATE TABLE t AS SELECT g AS rownumber, repeat('x', 1000) AS a FROM generate_series(1, 50000) g",
    )
    columns = warehouse.columns("t")

    def write(_: bytes) -> None:
        raise StorageError("disk full")

    for page in (warehouse.cells_page, lambda *args: warehouse.csv_page(*args[:4], PLAIN, args[4])):
        with pytest.raises(StorageError):
            page(Extract("t", ()), columns, 0, 50_000, write)
        assert warehouse.csv_page(Extract("t", ()), columns, 0, 2, PLAIN, io.BytesIO().write) == Page(2, 2)
    busy = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'tksva_q%' AND state = 'active'"
    wait_for(lambda: not run(empty_database, busy))


def test_an_unreachable_server_is_the_warehouses_fault_and_its_password_is_not_shown() -> None:
    warehouse = PostgresWarehouse("host=127.0.0.1 port=1 user=u password=secret dbname=d")
    with pytest.raises(WarehouseError) as told:
        warehouse.columns("t")
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://h/d", {"host": "h", "dbname": "d"}),
        (
            "postgresql+psycopg2://u:p%40%2F:/#?@db.example.org:6432/склад",
            {"user": "u", "password": "p@/:/#?", "host": "db.example.org", "port": "6432", "dbname": "склад"},
        ),
        (
            "postgres://u@[::1]:5433/d?sslmode=require",
            {"user": "u", "host": "::1", "port": "5433", "dbname": "d", "sslmode": "require"},
        ),
        ("postgresql:///d?host=/run/postgresql&user=u", {"dbname": "d", "host": "/run/postgresql", "user": "u"}),
    ],
)
def test_an_sqlalchemy_url_becomes_a_connection_string(url: str, parts: dict[str, str]) -> None:
    assert psycopg2.extensions.parse_dsn(dsn_of_url(url)) == parts


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@h:порт/d", "postgresql://h/d?nonsense=secret", "postgresql:secret"]
)
def test_an_url_that_makes_no_sense_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="DWH_URL") as told:
        dsn_of_url(url)
    assert "secret" not in str(told.value)
