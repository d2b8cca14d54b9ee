"""The demo warehouse's table in every size that is measured; they take turns under its name, as the Inspector swaps."""

import psycopg2

import demo_warehouse
from benchmarks.server import sql

#: Orders that the demo warehouse makes; larger tables hold them several times over.
BASE_ROWS = 100_000
#: The railway that all orders leave from: the form's own conditions then hold for every row.
RAILWAY = "Московская"
CONDITIONS = {"railway_name": RAILWAY, "start_date": "2023-01-01", "finish_date": "2026-12-31"}


class Warehouse:
    """The tables `benchmark.orders_…` of a database, and the one of them that is in use."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        connection = psycopg2.connect(conninfo)
        demo_warehouse.create(connection, BASE_ROWS)
        connection.close()
        sql(
            conninfo,
            "CREATE SCHEMA benchmark;"
            f"ALTER TABLE {demo_warehouse.TABLE} SET SCHEMA benchmark;"
            "ALTER TABLE benchmark._sales__execution_orders RENAME TO base",
        )
        self._in_use: str | None = None

    def use(self, rows: int, *, unique: bool = False) -> None:
        """Put the table of so many rows in its place; `unique`: no text in it occurs twice."""
        name = f"orders_{rows}{'_unique' * unique}"
        if sql(self.conninfo, "SELECT to_regclass(%s)", f"benchmark.{name}") == [(None,)] and name != self._in_use:
            self._make(name, rows, unique=unique)
        if name == self._in_use:
            return
        self._put_back()
        sql(
            self.conninfo,
            f"ALTER TABLE benchmark.{name} RENAME TO _sales__execution_orders;"
            "ALTER TABLE benchmark._sales__execution_orders SET SCHEMA audit",
        )
        self._in_use = name

    @property
    def width(self) -> int:
        """How many columns are exported."""
        return len(self._columns()) - 1

    def query(self) -> str:
        """Return the export's query: the table's columns but the first, the form's conditions, the key's order."""
        columns = ", ".join(f'"{name}"' for name in self._columns()[1:])
        return (
            f"SELECT {columns} FROM {demo_warehouse.TABLE} WHERE \"Дор. Отправления\" = '{RAILWAY}'"
            f" AND \"SVOD.Дата отправки\" >= '{CONDITIONS['start_date']}' AND \"SVOD.Дата отправки\" < '2027-01-01'"
            " ORDER BY rownumber"
        )

    def _put_back(self) -> None:
        if self._in_use:
            sql(
                self.conninfo,
                f"ALTER TABLE {demo_warehouse.TABLE} SET SCHEMA benchmark;"
                f"ALTER TABLE benchmark._sales__execution_orders RENAME TO {self._in_use}",
            )

    def _make(self, name: str, rows: int, *, unique: bool) -> None:
        fields = ", ".join(self._field(column, unique=unique) for column in self._columns()[1:])
        sql(
            self.conninfo,
            f"CREATE TABLE benchmark.{name} AS SELECT n AS rownumber, {fields}"
            f" FROM generate_series(1, {rows}::bigint) n"
            f" JOIN benchmark.base ON base.rownumber = (n - 1) % {BASE_ROWS} + 1 ORDER BY n",
        )
        sql(self.conninfo, f"ALTER TABLE benchmark.{name} ADD PRIMARY KEY (rownumber)")
        sql(self.conninfo, f"VACUUM ANALYZE benchmark.{name}")

    def _field(self, column: str, *, unique: bool) -> str:
        name = f'"{column}"'
        if column == "Дор. Отправления":
            return f"'{RAILWAY}' AS {name}"
        if unique and column in self._texts():
            return f"{name} || ' ' || to_hex(n) AS {name}"
        return name

    def _columns(self) -> list[str]:
        return [column for column, _ in self._catalog()]

    def _texts(self) -> set[str]:
        return {column for column, type_ in self._catalog() if type_ == "text"}

    def _catalog(self) -> list[tuple[str, str]]:
        return [
            (str(column), str(type_))
            for column, type_ in sql(
                self.conninfo,
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = 'benchmark.base'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            )
        ]
