"""The warehouse in ClickHouse, Debian's real server: files equal to PostgreSQL's, pages, names, faults."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from csvfile import CsvDialect
from dwh import During, Equals, Extract, Page, open_warehouse
from dwh_clickhouse import ClickHouseWarehouse
from errors import UserError, WarehouseError
from faults.clickhouse import Server, click_settings, table
from tests.clickhouse_fixtures import clickhouse, warehouse
from tests.clickhouse_types import make_orders
from tests.database import TABLE, Queries
from tests.exporting import EXTRACT, Bench
from tests.warehouses import PLAIN, cells_of, csv_of

__all__ = ["clickhouse", "warehouse"]  # fixtures


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
        for extract in (everything, EXTRACT):
            files[bench.whole(name, extract)] = place
        bench.warehouse.close()
        bench.database.close()
    assert len(files) == 2
    assert max(map(len, files)) > 1_000_000


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


def test_a_table_may_have_five_hundred_columns(clickhouse: Server, warehouse: ClickHouseWarehouse) -> None:
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


@pytest.mark.parametrize("delimiter", ["\\", "%", "\t", "{", "?"])
def test_any_delimiter_stands_between_fields_and_is_quoted_inside_them(
    clickhouse: Server, warehouse: ClickHouseWarehouse, delimiter: str
) -> None:
    columns, values = "k UInt8, a String, b UInt8, c String", [(2, f"x{delimiter}y", 5, "\\N")]
    table(clickhouse, "delimited", columns, "SELECT 1, '', 0, ''")
    clickhouse.run("INSERT INTO delimited VALUES", values)
    rows = list(
        csv.reader(
            io.StringIO(csv_of(warehouse, "delimited", CsvDialect(delimiter)).decode("utf-8-sig")), delimiter=delimiter
        )
    )
    assert rows == [["a", "b", "c"], ["", "0", ""], [f"x{delimiter}y", "5", "\\N"]]
