"""The warehouse in ClickHouse: Debian's real server, today's dialect by chdb, and PostgreSQL to be equal to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from csvfile import CsvDialect
from dwh import Condition, During, Equals, Extract, Page, open_warehouse
from dwh_clickhouse import ClickHouseWarehouse
from dwh_postgres import PostgresWarehouse
from errors import UserError, WarehouseError
from settings import Settings
from tests.clickhouse_server import Server, Today, click_settings, server, table
from tests.clickhouse_types import EVERY_TYPE, TODAYS_TYPES, make_orders, make_tables
from tests.conftest import TABLE, Queries
from tests.test_exports import EXTRACT, Bench
from tests.warehouses import PLAIN, cells_of, csv_of, run


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as started:
        started.run("CREATE DATABASE audit")
        yield started


@pytest.fixture(scope="session")
def today(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Today]:
    started = Today(tmp_path_factory.mktemp("chdb"))
    yield started
    started.stop()


@pytest.fixture
def warehouse(clickhouse: Server) -> Iterator[ClickHouseWarehouse]:
    opened = ClickHouseWarehouse(click_settings(clickhouse))
    yield opened
    opened.close()


@pytest.fixture
def todays(today: Today) -> Iterator[ClickHouseWarehouse]:
    opened = ClickHouseWarehouse(Settings(click_host="nowhere"))
    opened._client = today
    yield opened
    opened.close()


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


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_50000_rows_over_tls_give_the_file_that_postgresql_gives(  # noqa: PLR0913, PLR0917 -- fixtures
    database: str, sql: Queries, clickhouse: Server, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_orders(sql, clickhouse, TABLE, 50_000)
    monkeypatch.setenv("SSL_CERT_FILE", str(clickhouse.certificate))
    settings = click_settings(clickhouse, click_port=clickhouse.secure, click_secure=True, click_verify=True)
    everything = Extract(TABLE, (During("SVOD.Дата отправки", date(2024, 1, 1), date(2024, 12, 31)),))
    files: dict[bytes, int] = {}
    for place, chosen in enumerate([None, settings]):
        bench = Bench(database, tmp_path / str(place))
        bench.settings = bench.settings.model_copy(update={"chunk_size": 7_000})
        if chosen:
            bench.warehouse.close()
            bench.warehouse = open_warehouse(chosen)
            assert isinstance(bench.warehouse, ClickHouseWarehouse)
        assert bench.warehouse.count(everything) == 50_000
        monkeypatch.setattr("tests.test_exports.EXTRACT", everything)
        files[bench.whole(name)] = place
        monkeypatch.setattr("tests.test_exports.EXTRACT", EXTRACT)
        files[bench.whole(name)] = place
        bench.warehouse.close()
        bench.database.close()
    assert len(files) == 2
    assert max(map(len, files)) > 1_000_000


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (Equals("Ст. 100 % `\\", "'; DROP TABLE t; -- %s \\' \t\0"), 1),
        (Equals("Ст. 100 % `\\", "нет"), 0),
        (Equals("n", "5"), 1),
        (Equals("n", -5), 0),
        (Equals("big", 2**64 - 1), 1),
        (Equals("real", "0.1"), 1),
        (Equals("sum", "1.5"), 1),
        (Equals("sum", "1.555"), 0),
        (Equals("code", "00000000-0000-0000-0000-000000000001"), 1),
        (Equals("colour", "=красный"), 1),
        (Equals("colour", "белый"), 0),
        (Equals("low", "а"), 1),
        (During("day", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("at", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("zoned", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("text", date(2024, 1, 31), date(2024, 2, 29)), 2),
        (During("text", date(2024, 3, 1), date.max), 1),
        (During("day", date.min, date.max), 4),
        (During("at", date(1900, 1, 1), date(1960, 1, 1)), 0),
        (During("day", date(2120, 1, 1), date(2149, 1, 1)), 0),
        (During("at", date(2200, 1, 1), date.max), 0),
    ],
)
@pytest.mark.parametrize("where", ["warehouse", "todays"])
def test_conditions_select_what_they_say(  # noqa: PLR0913, PLR0917 -- fixtures
    request: pytest.FixtureRequest, clickhouse: Server, today: Today, where: str, condition: Condition, rows: int
) -> None:
    asked: ClickHouseWarehouse = request.getfixturevalue(where)
    execute = clickhouse.run if where == "warehouse" else today.execute
    execute("DROP TABLE IF EXISTS conditions")
    execute(
        "CREATE TABLE conditions (rownumber UInt32, `Ст. 100 % \\`\\\\` String, n Int32, big UInt64, real Float32,"
        " sum Decimal(12, 2), code UUID, colour Enum8('=красный' = 1, 'синий' = 2), low Nullable(String),"
        " day Nullable(Date), at DateTime, zoned DateTime('Europe/Moscow'), text String)"
        " ENGINE = MergeTree ORDER BY rownumber"
    )
    moments = ["2024-01-30 23:59:59", "2024-01-31 00:00:00", "2024-02-29 23:59:59", "2024-03-01 00:00:00"]
    for number, moment in enumerate(moments, 1):
        values = "'\\'; DROP TABLE t; -- %s \\\\\\' \\t\\0', 5, 18446744073709551615, toFloat32('0.1')"
        values += ", toDecimal64('1.50', 2)"
        values += ", toUUID('00000000-0000-0000-0000-000000000001'), '=красный', 'а'"
        if number > 1:
            values = "'', 0, 0, 0, toDecimal64('0', 2), toUUID('00000000-0000-0000-0000-000000000002'), 'синий', NULL"
        execute(
            f"INSERT INTO conditions SELECT {number}, {values}, toDate('{moment[:10]}'), toDateTime('{moment}'),"
            f" toDateTime('{moment}', 'Europe/Moscow'), '{moment}'"
        )
    assert asked.count(Extract("conditions", (condition,))) == rows
    file = io.BytesIO()
    page = asked.csv_page(Extract("conditions", (condition,)), asked.columns("conditions"), 0, 9, PLAIN, file.write)
    assert page.rows == file.getvalue().count(b"\n") == rows


@pytest.mark.parametrize(
    ("column", "value"), [("n", "не число"), ("code", "не код"), ("a", "половина \ud83d пары"), ("n", "1\0")]
)
def test_a_value_that_can_never_fit_is_the_users_mistake(
    clickhouse: Server, warehouse: ClickHouseWarehouse, column: str, value: str
) -> None:
    table(clickhouse, "narrow", "k Int8, n Int32, code UUID, a String", "SELECT 1, 1, generateUUIDv4(), ''")
    with pytest.raises(UserError) as told:
        warehouse.count(Extract("narrow", (Equals(column, value),)))
    assert "\n" not in str(told.value)


def test_absent_tables_columns_and_lone_keys_are_the_warehouses_fault(
    clickhouse: Server, warehouse: ClickHouseWarehouse
) -> None:
    table(clickhouse, "lone", "k Int8", "SELECT 1")
    for name in ("absent", "nowhere.absent"):
        with pytest.raises(WarehouseError, match="absent"):
            warehouse.count(Extract(name, ()))
    with pytest.raises(WarehouseError, match="ключа «k»"):
        warehouse.columns("lone")
    with pytest.raises(WarehouseError, match="нет такого"):
        warehouse.count(Extract("lone", (Equals("нет такого", 1),)))


def test_names_need_no_care_and_computed_columns_are_left_out(
    clickhouse: Server, warehouse: ClickHouseWarehouse
) -> None:
    clickhouse.run("CREATE DATABASE IF NOT EXISTS `Склад %`")
    columns = "k UInt8, `a % \\` \\\\ №` String, `_value0` Float64, m String MATERIALIZED 'm', l String ALIAS 'l'"
    table(
        clickhouse,
        "`Склад %`.`Т \\` %s`",
        columns,
        "(k, `a % \\` \\\\ №`, `_value0`) SELECT 2, '%', 1e20 UNION ALL SELECT 1, 'б', 5",
    )
    assert csv_of(warehouse, '"Склад %"."Т ` %s"', limit=1).decode() == "a % ` \\ №;_value0\nб;5\n%;1e+20\n"


def test_pages_go_by_the_key_whatever_the_tables_order(clickhouse: Server, warehouse: ClickHouseWarehouse) -> None:
    table(clickhouse, "gaps", "k Int64, a UInt32", "SELECT (100 - number) * (100 - number), number FROM numbers(100)")
    columns, file = warehouse.columns("gaps"), io.BytesIO()
    assert warehouse.csv_page(Extract("gaps", ()), columns, 16, 3, PLAIN, file.write) == Page(3, 49)
    assert file.getvalue() == b"95\n94\n93\n"
    assert warehouse.cells_page(Extract("gaps", ()), columns, 9801, 3, file.write) == Page(1, 10_000)
    assert warehouse.csv_page(Extract("gaps", ()), columns, 10_000, 3, PLAIN, file.write) == Page(0, 10_000)
    fresh = ClickHouseWarehouse(click_settings(clickhouse))
    assert fresh.csv_page(Extract("gaps", ()), columns, 0, 9, PLAIN, file.write) == Page(9, 81)
    fresh.close()


def test_five_hundred_columns(clickhouse: Server, warehouse: ClickHouseWarehouse) -> None:
    names = ", ".join(f"c{n} Nullable({'Int64' if n % 2 else 'String'})" for n in range(500))
    table(clickhouse, "wide", f"k UInt8, {names}", f"SELECT 1{', NULL' * 499}, 7")
    assert csv_of(warehouse, "wide", CsvDialect()).splitlines()[1] == b";" * 499 + b"7"
    assert cells_of(warehouse, "wide")["c499"] == ["7"]


def test_bytes_that_are_no_text_are_replaced_and_long_text_is_cut(
    clickhouse: Server, warehouse: ClickHouseWarehouse
) -> None:
    rows = "SELECT 1, concat('a', unhex('FF'), 'б;'), '' UNION ALL SELECT 2, '',"
    rows += " arrayStringConcat(arrayMap(x -> 'я\\n', range(30000)), '')"
    table(clickhouse, "bytes", "k UInt8, a String, b String", rows)
    assert csv_of(warehouse, "bytes").decode().startswith('a;b\n"a\ufffdб;";""\n"";"я\n')
    assert cells_of(warehouse, "bytes")["a"][0] == "a\ufffdб;"
    assert cells_of(warehouse, "bytes")["b"][1].replace("\\n", "\n") == "я\n" * 16_377 + "я… [обрезано]"
