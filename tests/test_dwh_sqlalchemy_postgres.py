"""PostgreSQL by its SQLAlchemy URL: the same as by the fast path beside it."""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import date

import psycopg2.extensions
import pytest
import sqlalchemy as sa

from csvfile import CsvDialect
from dwh import During, Equals, Extract, Page
from dwh_postgres import PostgresWarehouse
from dwh_sqlalchemy import BATCH, SqlAlchemyWarehouse
from errors import StorageError, UserError
from tests.database import TABLE, WAREHOUSE_ROWS
from tests.warehouses import ODD_NAME, PLAIN, cells_of, csv_of, run


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


def test_names_need_no_care_in_postgresql_either(database: str, postgresql: SqlAlchemyWarehouse) -> None:
    odd = ODD_NAME.replace('"', '""')
    run(database, f'CREATE TABLE "{odd}" ("%(k)s: {odd}" int, "{odd}" text)')
    run(database, f"""INSERT INTO "{odd}" VALUES (1, 'а'), (2, 'б')""")
    assert postgresql.count(Extract(f'"{odd}"', (Equals(ODD_NAME, "б"),))) == 1
    assert csv_of(postgresql, f'"{odd}"', limit=1).decode().splitlines()[1:] == ["а", "б"]


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


def test_what_the_server_itself_cannot_read_is_the_users_mistake_too(
    database: str, postgresql: SqlAlchemyWarehouse
) -> None:
    run(database, "CREATE TABLE t (rownumber int, day date, clock timetz)")
    assert [column.kind for column in postgresql.columns("t")] == ["date", "text"]
    with pytest.raises(UserError, match="date"):
        postgresql.count(Extract("t", (Equals("day", "31 февраля"),)))


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
