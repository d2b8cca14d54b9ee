"""The warehouse's connection to PostgreSQL: its session, its loss, and the URL that leads there."""

import io
import threading

import psycopg2
import psycopg2.extensions
import pytest

from dwh import Extract, Page
from dwh_postgres import PostgresWarehouse, dsn_of_url
from errors import SettingsError, StorageError, WarehouseError
from tests.waiting import wait_for
from tests.warehouses import PLAIN, csv_of, run, warehouse

__all__ = ["warehouse"]  # a fixture


def test_the_session_is_named_read_only_and_asks_for_iso_dates(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(empty_database, "CREATE TABLE t AS SELECT 1 AS rownumber, date '2024-01-31' AS day")
    name = psycopg2.extensions.parse_dsn(empty_database)["dbname"]
    run(empty_database, f"ALTER DATABASE \"{name}\" SET DateStyle = 'German'")
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
