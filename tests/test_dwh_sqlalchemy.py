"""The warehouse behind any SQLAlchemy URL: SQLite and, beside the fast path, PostgreSQL."""

import io
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import psycopg2.extensions
import pytest
import sqlalchemy as sa

from csvfile import CsvDialect
from dwh import Column, During, Equals, Extract, Page
from dwh_postgres import PostgresWarehouse
from dwh_sqlalchemy import BATCH, SqlAlchemyWarehouse
from errors import SettingsError, StorageError, UserError, WarehouseError
from tests.conftest import WAREHOUSE_ROWS
from tests.warehouses import ODD_NAME, PLAIN, cells_of, csv_of, run

TABLE = "audit._sales__execution_orders"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "склад.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[SqlAlchemyWarehouse]:
    opened = SqlAlchemyWarehouse(f"sqlite:///{file}")
    yield opened
    opened.close()


def fill(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)


def url_of(conninfo: str) -> str:
    parts = psycopg2.extensions.parse_dsn(conninfo)
    query = {"host": parts["host"], "port": parts["port"]}
    url = sa.URL.create("postgresql+psycopg2", username=parts["user"], database=parts["dbname"], query=query)
    return url.render_as_string()


@pytest.fixture
def postgresql(database: str) -> Iterator[SqlAlchemyWarehouse]:
    opened = SqlAlchemyWarehouse(url_of(database))
    yield opened
    opened.close()


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("limit", [7, 100_000])
def test_the_same_csv_as_the_fast_path(
    database: str, postgresql: SqlAlchemyWarehouse, limit: int, *, safe: bool
) -> None:
    with closing(PostgresWarehouse(database)) as fast:
        dialect = CsvDialect(safe_formulas=safe)
        run(database, _COMMON)
        for table in ("common", TABLE) if limit > BATCH else ("common",):
            assert csv_of(postgresql, table, dialect, limit) == csv_of(fast, table, dialect)


def test_the_same_cells_as_the_fast_path(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    with closing(PostgresWarehouse(database)) as fast:
        run(database, _COMMON)
        for table in ("common", TABLE):
            slow = cells_of(postgresql, table)
            for name, cells in cells_of(fast, table).items():
                assert slow[name] == cells, name


# `real` is left out: PostgreSQL turns it to exponents at a million, and Python has no such type.
_COMMON = r"""
CREATE DOMAIN price AS numeric(12, 2);
CREATE TABLE common (rownumber bigint PRIMARY KEY, small smallint, whole int, big bigint, exact numeric,
    sum numeric(12, 2), price price, real8 float8, flag boolean, day date, moment timestamp, zoned timestamptz,
    clock time, span interval, words text, name varchar(40), padded char(5), code uuid, bytes bytea);
SELECT setseed(0.25);
INSERT INTO common
SELECT g, g % 100, g * 1000, (random() * 1e16)::bigint,
    (random() * 10 ^ (g % 12))::numeric * 10 ^ (g % 6), random() * 1e9, random() * 100,
    random() * 10.0::float8 ^ (g % 36 - 20), g % 2 = 0, date '1900-03-01' + (random() * 60000)::int,
    timestamp '1966-01-01' + random() * interval '113 years', timestamp '1960-01-01' + random() * interval '80 years',
    time '00:00' + random() * interval '1 day', (g || ' days ' || g % 86400 || ' seconds')::interval,
    repeat(E'я";\\\n\t😀', g % 4) || g, '=' || g, g::text, md5(g::text)::uuid, decode(md5(g::text), 'hex')
FROM generate_series(1, 1500) g;
INSERT INTO common (rownumber) VALUES (2000);
INSERT INTO common VALUES
 (2001, 0, 0, 9223372036854775807, 'NaN', 'NaN', 0, 'Infinity', false, '0001-01-01', '9999-12-31 23:59:59.999999',
  '1970-01-01', '00:00', '0', '', '', '', NULL, ''),
 (2002, 0, 0, -999999999999999, 1e20, 0.1, 0, -1e300, false, '9999-12-31', '9999-12-31 23:59:59.5',
  '1970-01-01', '00:00', '-1 days', '\.', '-1', '@', NULL, '\x00'),
 (2003, 0, 0, 1000000000000000, 0.30000000000000004, 0, 0, 1e15, true, '1900-02-28', '1900-02-28 23:59:59.999999',
  '1970-01-01', '23:59:59.999999', '-00:00:01.5', E'\r', E'\t', '+', NULL, '\xff'),
 (2004, 0, 0, 0, 12345678901234567890.5, 0, 0, 123456789012345680, true, NULL, '2034-01-01',
  NULL, NULL, NULL, '\N', '!', '=', NULL, NULL);
"""


def test_sqlite_gives_the_same_bytes_for_the_same_values(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    fill(
        file,
        f"""CREATE TABLE t (rownumber INTEGER PRIMARY KEY, "{ODD_NAME.replace('"', '""')}" TEXT, n INTEGER,
            sum NUMERIC(12, 2), f REAL, flag BOOLEAN, day DATE, moment DATETIME, clock TIME, raw BLOB);
        INSERT INTO t VALUES (1, 'а;"б"', 9007199254740993, 1234.5, 0.30000000000000004, 1, '2024-01-31',
            '2024-01-31 12:00:00.500000', '06:00:00', x'00ff'),
        (2, '', 7, 10, 1e20, 0, '31.01.2024', '2024-01-31T12:00', 'noon', NULL),
        (5, '=1', 'семь', 'x', 'y', 'z', 1, 2, 3, 4)""",
    )
    assert [(column.name, column.kind) for column in sqlite.columns("t")] == [
        (ODD_NAME, "text"),
        ("n", "number"),
        ("sum", "number"),
        ("f", "number"),
        ("flag", "boolean"),
        ("day", "date"),
        ("moment", "datetime"),
        ("clock", "time"),
        ("raw", "text"),
    ]
    assert csv_of(sqlite, "t", CsvDialect(safe_formulas=True), limit=2).decode().splitlines()[1:] == [
        '"а;""б""";9007199254740993;1234.50;0.30000000000000004;t;2024-01-31;2024-01-31 12:00:00.5;06:00:00;\\x00ff',
        '"";7;10;1e+20;f;31.01.2024;2024-01-31 12:00:00;noon;',
        "'=1;семь;x;y;z;1;2;3;4",
    ]
    assert list(cells_of(sqlite, "t").values()) == [
        ['а;"б"', "", "=1"],
        ["!9007199254740993", "7", "!семь"],
        ["1234.50", "10", "!x"],
        ["0.30000000000000004", "1e+20", "!y"],
        ["1", "0", "!z"],
        ["45322", "!31.01.2024", "!1"],
        ["45322.500005787035", "45322.5", "!2"],
        ["0.25", "!noon", "!3"],
        ["\\\\x00ff", "\\N", "4"],
    ]


@pytest.mark.parametrize("type_", ["DATE", "DATETIME", "TIMESTAMP", "TEXT", "VARCHAR(40)"])
def test_a_period_takes_its_last_day_whole(file: Path, sqlite: SqlAlchemyWarehouse, type_: str) -> None:
    fill(
        file,
        f"""CREATE TABLE t (rownumber INTEGER PRIMARY KEY, at {type_});
        INSERT INTO t VALUES (1, '2024-01-30 23:59:59.999999'), (2, '2024-01-31'), (3, '2024-02-01T00:00:00'),
            (4, '2024-02-29 23:59:59.999999'), (5, '2024-03-01 00:00:00.000000'), (6, NULL)""",
    )
    assert sqlite.count(Extract("t", (During("at", date(2024, 1, 31), date(2024, 2, 29)),))) == 3
    assert sqlite.count(Extract("t", (During("at", date(2024, 3, 1), date.max),))) == 1


@pytest.mark.parametrize("column", ["day", "moment", "zoned", "written"])
def test_a_period_in_postgresql_takes_its_last_day_whole(
    database: str, postgresql: SqlAlchemyWarehouse, column: str
) -> None:
    run(
        database,
        """CREATE TABLE t AS SELECT row_number() OVER () AS rownumber, at AS moment, at::date AS day,
            at::timestamptz AS zoned, at::text AS written
        FROM unnest('{2024-01-30 23:59:59.999999,2024-01-31,2024-02-29 23:59:59,2024-03-01}'::timestamp[]) at""",
    )
    assert postgresql.count(Extract("t", (During(column, date(2024, 1, 31), date(2024, 2, 29)),))) == 2


def test_names_and_values_need_no_care(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    evil = "'; DROP TABLE t; -- :a %s ?"
    odd = ODD_NAME.replace('"', '""')
    fill(
        file,
        f"""CREATE TABLE "{odd}" ("key: %(x)s" INTEGER, "{odd}" TEXT);
        INSERT INTO "{odd}" VALUES (1, '{evil.replace("'", "''")}'), (2, 'x')""",
    )
    table = f'"{odd}"'
    assert sqlite.count(Extract(table, (Equals(ODD_NAME, evil),))) == 1
    assert csv_of(sqlite, table).decode().splitlines()[1:] == [evil.join('""') if ";" not in evil else f'"{evil}"', "x"]


def test_names_need_no_care_in_postgresql_either(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    odd = ODD_NAME.replace('"', '""')
    run(database, f'CREATE TABLE "{odd}" ("%(k)s: {odd}" int, "{odd}" text)')
    run(database, f"""INSERT INTO "{odd}" VALUES (1, 'а'), (2, 'б')""")
    assert postgresql.count(Extract(f'"{odd}"', (Equals(ODD_NAME, "б"),))) == 1
    assert csv_of(postgresql, f'"{odd}"', limit=1).decode().splitlines()[1:] == ["а", "б"]


def test_a_schema_is_an_attached_file_and_without_one_there_is_none(
    file: Path, tmp_path: Path, sqlite: SqlAlchemyWarehouse
) -> None:
    fill(file, "CREATE TABLE t (rownumber INTEGER, here TEXT)")
    assert sqlite.columns("audit.t") == sqlite.columns("t") == (Column("here", "text", "TEXT"),)
    fill(tmp_path / "audit.db", "CREATE TABLE t (rownumber INTEGER, there TEXT)")

    def attach(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("ATTACH ? AS audit", (str(tmp_path / "audit.db"),))

    sqlite.close()
    sa.event.listen(sqlite._engine, "connect", attach)
    assert [column.name for column in sqlite.columns("audit.t")] == ["there"]
    assert [column.name for column in sqlite.columns("t")] == ["here"]


def test_pages_follow_the_key_over_its_gaps(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    fill(file, "CREATE TABLE t (key INTEGER, a TEXT); INSERT INTO t VALUES (9, 'в'), (1, 'а'), (4, 'б')")
    columns = sqlite.columns("t")
    out = io.BytesIO()
    assert sqlite.csv_page(Extract("t", ()), columns, 0, 2, PLAIN, out.write) == Page(2, 4)
    assert sqlite.csv_page(Extract("t", ()), columns, 4, 2, PLAIN, out.write) == Page(1, 9)
    assert sqlite.csv_page(Extract("t", ()), columns, 9, 2, PLAIN, out.write) == Page(0, 9)
    assert sqlite.cells_page(Extract("t", (Equals("a", "в"),)), columns, 0, 2, out.write) == Page(1, 9)
    assert out.getvalue().decode() == "а\nб\nв\nв\n"


def test_memory_is_flat_over_a_large_page(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    fill(
        file,
        """CREATE TABLE t (rownumber INTEGER PRIMARY KEY, a TEXT);
        WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < 20000)
        INSERT INTO t SELECT n, printf('%01000d', n) FROM g""",
    )
    columns = sqlite.columns("t")
    pieces: list[int] = []

    def peak(limit: int) -> int:
        tracemalloc.reset_peak()
        page = sqlite.csv_page(Extract("t", ()), columns, 0, limit, PLAIN, lambda rows: pieces.append(len(rows)))
        assert page == Page(limit, limit)
        return tracemalloc.get_traced_memory()[1]

    peak(BATCH)
    tracemalloc.start()
    try:
        few, many = peak(2 * BATCH), peak(20 * BATCH)
    finally:
        tracemalloc.stop()
    assert many < few * 1.2
    assert max(pieces) < 2 * BATCH * 1001


def test_the_cursor_of_postgresql_is_the_servers(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    seen: list[str] = []
    sa.event.listen(
        postgresql._engine,
        "after_cursor_execute",
        lambda _connection, cursor, *_: seen.append(str(getattr(cursor, "name", None))),
    )
    columns = postgresql.columns(TABLE)
    seen.clear()
    page = postgresql.cells_page(Extract(TABLE, ()), columns, 0, 100_000, io.BytesIO().write)
    assert page == Page(WAREHOUSE_ROWS, WAREHOUSE_ROWS)
    assert seen != ["None"]
    assert len(seen) == 1


def test_no_transaction_stays_open_between_pages(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    columns = postgresql.columns(TABLE)
    postgresql.csv_page(Extract(TABLE, ()), columns, 0, 10, PLAIN, io.BytesIO().write)
    states = run(
        database,
        "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'",
    )
    assert states == [("idle",)]


def test_an_absent_table_or_column_is_the_warehouses_fault(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    with pytest.raises(WarehouseError, match="t"):
        sqlite.columns("t")
    fill(file, "CREATE TABLE t (rownumber INTEGER, a TEXT); CREATE TABLE lone (rownumber INTEGER)")
    with pytest.raises(WarehouseError, match="нет такого"):
        sqlite.count(Extract("t", (Equals("нет такого", 1),)))
    with pytest.raises(WarehouseError, match="rownumber"):
        sqlite.columns("lone")


@pytest.mark.parametrize(
    ("column", "value"), [("n", "не число"), ("n", "NaN"), ("a", "половина \ud83d пары"), ("n", 10**30)]
)
def test_a_value_that_can_never_fit_is_the_users_mistake(
    file: Path, sqlite: SqlAlchemyWarehouse, column: str, value: str | int
) -> None:
    fill(file, "CREATE TABLE t (rownumber INTEGER, a TEXT, n INTEGER)")
    with pytest.raises(UserError):
        sqlite.count(Extract("t", (Equals(column, value),)))


def test_what_the_server_itself_cannot_read_is_the_users_mistake_too(
    database: str, postgresql: SqlAlchemyWarehouse
) -> None:
    run(database, "CREATE TABLE t (rownumber int, day date, clock timetz)")
    assert [column.kind for column in postgresql.columns("t")] == ["date", "text"]
    with pytest.raises(UserError, match="date"):
        postgresql.count(Extract("t", (Equals("day", "31 февраля"),)))


def test_numbers_are_compared_as_numbers_and_text_as_text(file: Path, sqlite: SqlAlchemyWarehouse) -> None:
    fill(
        file,
        "CREATE TABLE t (rownumber INTEGER, a TEXT, n INTEGER, s NUMERIC(5, 2));"
        "INSERT INTO t VALUES (1, '007', 7, 0.5)",
    )
    found = [("a", "007", 1), ("a", 7, 0), ("n", "7", 1), ("n", 7, 1), ("s", "0.50", 1)]
    assert [sqlite.count(Extract("t", (Equals(column, value),))) for column, value, _ in found] == [
        expected for _, _, expected in found
    ]


def test_a_warehouse_that_is_away_is_told_in_one_line_without_its_password(database: str) -> None:
    with closing(SqlAlchemyWarehouse("postgresql+psycopg2://u:secret@127.0.0.1:1/d")) as away:
        with pytest.raises(WarehouseError) as told:
            away.columns("t")
        assert "\n" not in str(told.value)
        assert "secret" not in str(told.value)


def test_a_lost_connection_is_replaced_on_the_next_call(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    assert postgresql.count(Extract(TABLE, ())) == WAREHOUSE_ROWS
    run(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    assert postgresql.count(Extract(TABLE, ())) == WAREHOUSE_ROWS


def test_what_the_writer_raises_passes_through(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    def write(_: bytes) -> None:
        raise StorageError("disk full")

    columns = postgresql.columns(TABLE)
    with pytest.raises(StorageError):
        postgresql.csv_page(Extract(TABLE, ()), columns, 0, 10_000, PLAIN, write)
    assert postgresql.count(Extract(TABLE, ())) == WAREHOUSE_ROWS


@pytest.mark.parametrize("url", ["nonsense://h/d", "mysql+nodriver://u:secret@h/d", "::"])
def test_an_url_without_a_driver_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="DWH_URL") as told:
        SqlAlchemyWarehouse(url)
    assert "secret" not in str(told.value)
