"""The vocabulary of the warehouse, and which warehouse the settings mean."""

import subprocess
import sys
from pathlib import Path

import pytest

from dwh import open_warehouse, table_parts
from dwh_postgres import PostgresWarehouse
from dwh_sqlalchemy import SqlAlchemyWarehouse
from errors import SettingsError, UserError, WarehouseError
from tests import ROOT
from tests.daemons import make_settings

TABLE = "audit._sales__execution_orders"


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("audit._sales__execution_orders", ("audit", "_sales__execution_orders")),
        ("orders", (None, "orders")),
        ("Схема.Таблица №1, 100 %", ("Схема", "Таблица №1, 100 %")),
        ('"a.b"."c ""d"""', ("a.b", 'c "d"')),
        ('audit."x.y"', ("audit", "x.y")),
    ],
)
def test_a_table_is_named_with_its_schema(table: str, parts: tuple[str | None, str]) -> None:
    assert table_parts(table) == parts


@pytest.mark.parametrize("table", ["", ".", "a.", ".b", "a.b.c", '"', 'a.""', '"a"b'])
def test_a_table_name_that_makes_no_sense_is_refused(table: str) -> None:
    with pytest.raises(UserError):
        table_parts(table)


def test_without_settings_the_warehouse_is_the_postgresql_of_the_job_table(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(make_settings(database, tmp_path))
    assert isinstance(warehouse, PostgresWarehouse)
    assert warehouse.columns(TABLE)[0].name == "Ст. Отправления"
    warehouse.close()


def test_a_postgresql_url_takes_the_fast_path(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(make_settings(database, tmp_path, dwh_url="postgresql+psycopg2://u@127.0.0.1:1/d"))
    assert isinstance(warehouse, PostgresWarehouse)
    with pytest.raises(WarehouseError):
        warehouse.columns(TABLE)


def test_any_other_url_goes_through_sqlalchemy(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(make_settings(database, tmp_path, dwh_url=f"sqlite:///{tmp_path}/dwh.db"))
    assert isinstance(warehouse, SqlAlchemyWarehouse)
    warehouse.close()


def test_a_clickhouse_host_without_its_client_is_a_wrong_setting(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dwh_clickhouse", None)
    with pytest.raises(SettingsError, match="CLICK_HOST"):
        open_warehouse(make_settings(database, tmp_path, click_host="127.0.0.1"))


def test_the_fast_path_imports_neither_sqlalchemy_nor_pandas() -> None:
    code = "import dwh, dwh_postgres, sys; print(sorted({'sqlalchemy', 'pandas', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
