import time

import psycopg2
import pytest

import demo_warehouse
import schema
from demo_warehouse import TABLE, create
from errors import WarehouseError
from tests.waiting import BUSY

ROWS = 20_000


@pytest.fixture
def connection(empty_database):
    schema.migrate(empty_database)
    connection = psycopg2.connect(empty_database)
    yield connection
    connection.close()


@pytest.fixture
def demo(connection):
    create(connection, ROWS)
    return lambda sql: rows(connection, sql)


def rows(connection, sql):
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_the_table_is_rownumber_and_thirty_columns_of_every_common_type(demo):
    columns = demo(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        f" WHERE attrelid = '{TABLE}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert columns[0] == ("rownumber", "bigint")
    assert len(columns) == 31
    names = [name for name, _ in columns]
    assert {"Ст. Отправления", "Дор. Отправления", "SVOD.Дата отправки"} < set(names)
    assert {kind for _, kind in columns} == {
        "bigint",
        "boolean",
        "date",
        "double precision",
        "integer",
        "numeric",
        "text",
        "timestamp without time zone",
    }


def test_rows_are_numbered_without_gaps(demo):
    assert demo(f"SELECT count(*), count(DISTINCT rownumber), min(rownumber), max(rownumber) FROM {TABLE}") == [
        (ROWS, ROWS, 1, ROWS)
    ]


def test_orders_leave_over_two_years_to_the_last_day(demo):
    sent = f'SELECT min("SVOD.Дата отправки")::date::text, max("SVOD.Дата отправки")::date::text FROM {TABLE}'
    assert demo(sent) == [("2024-01-01", "2025-12-31")]
    assert demo(f"""SELECT count(DISTINCT "SVOD.Дата отправки"::date) FROM {TABLE}""") == [(731,)]


def test_every_station_belongs_to_one_railway():
    stations = [name for names in demo_warehouse.RAILWAYS.values() for name in names.split("|")]
    assert len(stations) == len(set(stations)) == 198
    assert len(demo_warehouse.RAILWAYS) == 16


def test_some_stations_are_busy_and_some_are_not(demo):
    counts = demo(f'SELECT count(*) FROM {TABLE} GROUP BY "Ст. Отправления" ORDER BY 1 DESC')
    assert counts[0][0] > 5 * counts[len(counts) // 2][0]
    assert demo(f"""SELECT count(*) > {ROWS} / 5 FROM {TABLE} WHERE "Дор. Отправления" = 'Московская'""") == [(True,)]


def test_values_that_exports_trip_over_are_among_them(demo):
    nulls = demo(
        'SELECT bool_or("№ вагона" IS NULL), bool_or("Дата прибытия" IS NULL), bool_or("Груз" IS NULL),'
        f' bool_or("Оплачен" IS NULL), bool_or("ИНН клиента" IS NULL), bool_or("Ставка НДС, %" IS NULL) FROM {TABLE}'
    )
    assert nulls == [(True,) * 6]
    notes = {note for (note,) in demo(f'SELECT DISTINCT left("Примечание", 1) FROM {TABLE}')}
    assert {"=", "+", "-", None} <= notes
    assert demo(f"""SELECT bool_or("Примечание" LIKE E'%\\n%'), bool_or("Клиент" LIKE '%;%') FROM {TABLE}""") == [
        (True, True)
    ]
    assert demo(f'SELECT bool_or(extract(microseconds FROM "Раскредитован") % 1000 <> 0) FROM {TABLE}') == [(True,)]


def test_the_inspectors_row_says_what_is_there(demo):
    [(info, wants, gives)] = demo(
        f"SELECT table_info, wants_to_refresh, gives_information FROM dwh_tables_info WHERE dwh_table_name = '{TABLE}'"
    )
    assert (wants, gives) == (False, False)
    assert (info["rows_qty"], info["min_date"], info["max_date"]) == (ROWS, "2024-01-01", "2025-12-31")
    assert sorted(info["railway_names"].split("|")) == sorted(demo_warehouse.RAILWAYS)
    assert "Ворсино" in info["station_names"].split("|")


def test_there_is_a_user_to_queue_jobs_for(demo):
    assert demo('SELECT id, username FROM "user"') == [(1, "demo")]


def test_every_installation_has_the_same_rows(connection, demo):
    fingerprint = f"SELECT md5(string_agg(o::text, '|' ORDER BY rownumber)) FROM {TABLE} o"
    before = demo(fingerprint)
    rows(connection, f"DROP TABLE {TABLE}; SELECT 1")
    create(connection, ROWS)
    assert demo(fingerprint) == before


def test_the_second_time_is_quick_and_changes_nothing(connection, demo):
    before = demo(f"SELECT '{TABLE}'::regclass::oid")
    took = []
    for _ in range(5):
        started = time.perf_counter()
        create(connection, ROWS)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.2 * BUSY
    assert demo(f"SELECT '{TABLE}'::regclass::oid") == before


def test_another_size_replaces_the_demo_table(connection, demo):
    create(connection, 100)
    assert demo(f"SELECT count(*) FROM {TABLE}") == [(100,)]
    assert demo("SELECT table_info->>'rows_qty' FROM dwh_tables_info") == [("100",)]


def test_a_table_of_somebody_else_is_not_touched(connection):
    rows(connection, f"CREATE SCHEMA audit; CREATE TABLE {TABLE} (rownumber bigint); SELECT 1")
    with pytest.raises(WarehouseError, match="не тронута"):
        create(connection, ROWS)
    assert rows(connection, f"SELECT count(*) FROM {TABLE}") == [(0,)]


def test_three_hundred_thousand_rows_take_seconds(connection):
    started = time.perf_counter()
    create(connection)
    assert time.perf_counter() - started < 20 * BUSY
    assert rows(connection, f"SELECT count(*) FROM {TABLE}") == [(300_000,)]
