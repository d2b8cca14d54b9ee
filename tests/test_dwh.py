"""The vocabulary of the warehouse, and which warehouse the settings mean."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dwh import check, open_warehouse, table_parts
from dwh_postgres import PostgresWarehouse
from dwh_sqlalchemy import SqlAlchemyWarehouse
from errors import SettingsError, UserError, WarehouseError
from settings import Settings
from tests import ROOT
from tests.daemons import Daemon, make_settings

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


# --- before the start -------------------------------------------------------------------------------------------------

#: What must be set, and what the line names.
WRONG = [
    ({"dwh_url": "nonsense://h/d"}, "DWH_URL: .*nonsense"),
    ({"dwh_url": "mysql+nodriver://u:hunter2@h/d"}, "DWH_URL: .*nodriver"),
    ({"dwh_url": "mysql+pymysql://u@h:hunter2/d"}, "DWH_URL: адрес не понятен"),
    ({"dwh_url": "postgresql://u:hunter2@h:port/d"}, "DWH_URL: адрес PostgreSQL не понятен"),
    ({"var_dir": "~nobody-of-that-name/x"}, "VAR_DIR: .*nobody-of-that-name.*пользователя"),
    ({"click_host": "127.0.0.1"}, "CLICK_HOST: нет модуля clickhouse_driver"),
]


@pytest.fixture
def without_clickhouse(tmp_path: Path) -> str:
    """A folder for PYTHONPATH that makes a process one where ClickHouse's client is not installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys; sys.modules['clickhouse_driver'] = None")
    return str(tmp_path / "site")


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[said.replace(" ", "_") for _, said in WRONG])
def test_a_warehouse_that_nobody_could_open_stops_the_start_with_one_line(
    tmp_path: Path, without_clickhouse: str, wrong: dict[str, str], said: str
) -> None:
    """The job table's database is not even asked."""
    daemon = Daemon(
        "host=127.0.0.1 port=1 dbname=d user=u password=p", tmp_path, **wrong, pythonpath=without_clickhouse
    )
    assert daemon.process.wait(60) == 2
    daemon._gone()
    (line,) = daemon.lines
    assert re.fullmatch(f"{said}.*; пример.*", line)
    assert "hunter2" not in line


def test_looking_at_the_settings_connects_to_nothing_and_starts_nothing(database: str, tmp_path: Path) -> None:
    check(make_settings(database, tmp_path))
    check(Settings(var_dir=tmp_path / "var"))
    check(make_settings(database, tmp_path, click_host="127.0.0.1", click_port=1))
    check(make_settings(database, tmp_path, dwh_url="sqlite:///nowhere/x"))
    assert list(tmp_path.iterdir()) == []


def test_looking_at_the_settings_imports_no_client_of_a_database() -> None:
    code = (
        "import dwh, sys; from settings import Settings\n"
        "dwh.check(Settings(dwh_url='postgresql://u:p@127.0.0.1:1/d')); dwh.check(Settings(click_host='h'))\n"
        "print(sorted({'sqlalchemy', 'clickhouse_driver'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
