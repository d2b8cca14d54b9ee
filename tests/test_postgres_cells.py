"""How PostgreSQL writes values, against a real server and psql."""

import io
import os

import psycopg2
import psycopg2.extensions
import pytest

from csvfile import CsvDialect
from dwh import Equals, Extract
from dwh_postgres import PostgresWarehouse
from errors import WarehouseError
from tests.warehouses import EVERY_TYPE, ODD_NAME, cells_of, csv_of, make_every_type, psql, run, warehouse

__all__ = ["warehouse"]  # a fixture

MICROS = "round((serial::float8 - floor(serial::float8)) * 86400e6::float8)"
MILLIS = "round((serial::float8 - floor(serial::float8)) * 86400e3::float8)"


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_csv_is_byte_for_byte_what_psql_writes(empty_database: str, warehouse: PostgresWarehouse, limit: int) -> None:
    make_every_type(empty_database)
    names = ", ".join('"' + column.name.replace('"', '""') + '"' for column in warehouse.columns("odd.every"))
    query = f"select {names} from odd.every order by rownumber"
    assert csv_of(warehouse, "odd.every", limit=limit) == psql(empty_database, query)
    tabs = CsvDialect("\t", bom=False, safe_formulas=False)
    assert csv_of(warehouse, "odd.every", tabs) == psql(empty_database, query, "\t")


def test_every_type_has_its_cells(empty_database: str, warehouse: PostgresWarehouse) -> None:
    make_every_type(empty_database)
    run(empty_database, f"ALTER DATABASE \"{_name(empty_database)}\" SET timezone = 'Asia/Irkutsk'")
    table = cells_of(warehouse, "odd.every")
    for name, _, values in EVERY_TYPE:
        expected = [value if isinstance(value, str) else value[1] for value in values]
        assert table[name] == expected + ["\\N"] * (len(table[ODD_NAME]) - len(expected)), name


def test_columns_tell_kind_and_type_with_domains_resolved(empty_database: str, warehouse: PostgresWarehouse) -> None:
    make_every_type(empty_database)
    run(empty_database, "ALTER TABLE odd.every DROP COLUMN whole; ALTER TABLE odd.every ADD late text")
    columns = {column.name: (column.kind, column.type) for column in warehouse.columns("odd.every")}
    assert list(columns)[:2] == [ODD_NAME, "small"]
    assert list(columns)[-1] == "late"
    assert columns["price"] == ("number", "numeric(12,2)")
    assert columns["moment3"] == ("datetime", "timestamp(3) without time zone")
    assert columns["zoned"] == ("datetime", "timestamp with time zone")
    assert columns["zoned_clock"] == ("text", "time with time zone")
    assert columns["tags"] == ("text", "text[]")
    assert not {"rownumber", "whole"} & set(columns)


def test_guarded_csv_differs_only_in_the_text_that_looks_like_a_formula(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(
        empty_database,
        r"""CREATE DOMAIN code AS varchar(10);
        CREATE TABLE t (rownumber int, a text, b varchar(9), c char(4), d "char", e name, g code,
            n int, m money, i interval);
        INSERT INTO t VALUES (1, '=1', '+1', '-1', '@', E'\tx', E'\r', -1, '-1', '-1 day'),
            (2, 'a=1', '1+1', ' -1', 'x', ' @', 'b', 1, '1', '1 day'),
            (3, '', '', '', '', '', '', 0, '0', '0'),
            (4, '''=', '"=', ';=', '9', '~', '😀', 0, '0', '0');
        INSERT INTO t VALUES (5);
        INSERT INTO t VALUES (6, '=;', '="', E'=\n', '=', '=', '=')""",
    )
    assert csv_of(warehouse, "t", CsvDialect(bom=False, safe_formulas=True)).decode() == (
        "a;b;c;d;e;g;n;m;i\n"
        "'=1;'+1;'-1  ;'@;'\tx;\"'\r\";-1;-$1.00;-1 days\n"
        "a=1;1+1; -1 ;x; @;b;1;$1.00;1 day\n"
        '"";"";    ;"";"";"";0;$0.00;00:00:00\n'
        '\'=;"""=";";=  ";9;~;😀;0;$0.00;00:00:00\n'
        ";;;;;;;;\n"
        '"\'=;";"\'=""";"\'=\n  ";\'=;\'=;\'=;;;\n'
    )


def test_special_numbers_are_told_apart_in_a_view_too(empty_database: str, warehouse: PostgresWarehouse) -> None:
    run(
        empty_database,
        """CREATE VIEW made AS SELECT g AS key, n + 0 AS n, (n + 0)::numeric(12, 2) AS short FROM
        (VALUES (1, 'NaN'::numeric), (2, 0), (3, NULL), (4, 1.5), (5, 12345678.12)) v (g, n)""",
    )
    assert cells_of(warehouse, "made") == {
        "n": ["!NaN", "0", "\\N", "1.5", "12345678.12"],
        "short": ["!NaN", "0.00", "\\N", "1.50", "12345678.12"],
    }


def test_the_serial_of_a_timestamp_gives_back_its_microsecond(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(
        empty_database,
        """SELECT setseed(0.5);
        CREATE TABLE moments AS
        SELECT timestamp '1900-03-01' + random() * (timestamp '2079-06-05' - timestamp '1900-03-01') AS at
            FROM generate_series(1, 30000)
        UNION ALL SELECT timestamp '1966-01-01' + random() * (timestamp '2034-01-01' - timestamp '1966-01-01')
            FROM generate_series(1, 30000)
        UNION ALL SELECT timestamp '1900-03-01' + random() * (timestamp '10000-01-01' - timestamp '1900-03-01')
            FROM generate_series(1, 30000)
        UNION ALL SELECT date_trunc('milliseconds', timestamp '2079-06-05' + random() * interval '7900 years')
            FROM generate_series(1, 30000)
        UNION ALL SELECT edge + g * interval '1 microsecond'
            FROM generate_series(-500, 500) g, unnest('{1966-01-01,2000-01-01,2034-01-01}'::timestamp[]) edge;
        CREATE TABLE t AS SELECT row_number() OVER () AS rownumber, at, at AT TIME ZONE 'UTC' AS zoned,
            at::text AS written FROM moments WHERE at < '10000-01-01'""",
    )
    run(empty_database, f"ALTER DATABASE \"{_name(empty_database)}\" SET timezone = 'UTC'")
    table = cells_of(warehouse, "t")
    assert all(plain in {zoned, zoned[:-3]} for plain, zoned in zip(table["at"], table["zoned"], strict=True))
    with psycopg2.connect(empty_database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE back (serial text, written text)")
        lines = map("{}\t{}\n".format, table["at"], table["written"])
        cursor.copy_expert("COPY back FROM STDIN", io.StringIO("".join(lines)))
    connection.close()
    [(numbers, wrong)] = run(
        empty_database,
        f"""SELECT count(*) FILTER (WHERE serial NOT LIKE '!%'), count(*) FILTER (WHERE NOT CASE
            WHEN serial LIKE '!%' THEN substr(serial, 2) = written AND written::timestamp >= '2079-06-05'
                AND date_trunc('milliseconds', written::timestamp) <> written::timestamp
            WHEN written::timestamp < '2079-06-05' THEN
                written::timestamp = date '1899-12-30' + floor(serial::float8)::int + {MICROS} * interval '1 us'
            ELSE written::timestamp = date '1899-12-30' + floor(serial::float8)::int + {MILLIS} * interval '1 ms' END)
        FROM back""",
    )
    assert wrong == 0
    assert numbers > 90_000


def _name(conninfo: str) -> str:
    return str(psycopg2.extensions.parse_dsn(conninfo)["dbname"])


def test_a_text_past_a_cells_limit_is_cut_with_a_mark_and_the_others_are_not(
    empty_database: str, warehouse: PostgresWarehouse
) -> None:
    run(
        empty_database,
        r"""CREATE TABLE t (rownumber bigint, a text, n numeric, b text);
        INSERT INTO t VALUES (1, repeat('😀', 16383), 1, 'x'), (2, repeat('😀', 16384), 10::numeric ^ 40000, E'\t\\'),
            (3, repeat(E'\t', 32767), NULL, NULL), (4, repeat(E'\t', 32768), 0, ''), (5, repeat('я', 32767), 0, '')""",
    )
    table = cells_of(warehouse, "t")
    mark = "… [обрезано]"
    assert table["a"] == ["😀" * 16383, "😀" * 16377 + mark, "\\t" * 32767, "\\t" * 32755 + mark, "я" * 32767]
    assert table["n"] == ["1", "!1" + "0" * 32753 + mark, "\\N", "0", "0"]
    assert table["b"] == ["x", "\\t\\\\", "\\N", "", ""]


def test_a_server_in_another_encoding_gives_utf8(postgres: str) -> None:
    name = f"cp1251_{os.getpid()}"
    run(postgres, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'WIN1251' LOCALE 'C'")
    conninfo = psycopg2.extensions.make_dsn(postgres, dbname=name)
    warehouse = PostgresWarehouse(conninfo)
    try:
        run(conninfo, "CREATE TABLE t AS SELECT 1 AS rownumber, '=Чита №' AS \"Имя\"")
        assert csv_of(warehouse, "t", CsvDialect(bom=False, safe_formulas=True)).decode() == "Имя\n'=Чита №\n"
        with pytest.raises(WarehouseError, match="WIN1251"):
            warehouse.count(Extract("t", (Equals("Имя", "😀"),)))
    finally:
        warehouse.close()
        run(postgres, f"DROP DATABASE {name} WITH (FORCE)")
