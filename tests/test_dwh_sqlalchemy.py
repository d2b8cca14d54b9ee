"""The warehouse behind any SQLAlchemy URL, by the example of SQLite."""

import io
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from csvfile import CsvDialect
from dwh import Column, During, Equals, Extract, Page
from dwh_sqlalchemy import BATCH, SqlAlchemyWarehouse
from errors import SettingsError, UserError, WarehouseError
from tests.warehouses import ODD_NAME, PLAIN, cells_of, csv_of


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


@pytest.mark.parametrize("url", ["nonsense://h/d", "mysql+nodriver://u:secret@h/d", "::"])
def test_an_url_without_a_driver_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="DWH_URL") as told:
        SqlAlchemyWarehouse(url)
    assert "secret" not in str(told.value)
