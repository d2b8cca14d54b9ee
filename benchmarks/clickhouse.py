"""From ClickHouse to CSV, 500,000 rows of 30 columns: this project's way beside the older one, in the same run."""

from __future__ import annotations

import csv
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from csvfile import CsvDialect
from dwh import Extract, Page
from dwh_clickhouse import ClickHouseWarehouse
from tests.clickhouse_server import Server, click_settings, server

ROWS, PAGE = 500_000, 50_000
#: Name of a column, its type, its value by the row's number.
COLUMNS = [
    *((f"Текст {n}", "String", f"concat('текст ', toString(cityHash64(number, {n}) % 100000))") for n in range(10)),
    ("Ст. Отправления", "LowCardinality(String)", "arrayElement(['Тайшет', 'Лена', 'Чита \"1\"'], number % 3 + 1)"),
    ("Примечание", "Nullable(String)", "if(number % 7 = 0, NULL, concat('прим; \"кав\" ', toString(number)))"),
    *((f"Число {n}", "Int32", f"cityHash64(number, {n}) % 1000000") for n in range(6)),
    *((f"Сумма {n}", "Decimal(12, 2)", f"toDecimal64(cityHash64(number, {n}) % 1000000, 2) / 10") for n in range(4)),
    ("Вес", "Float64", "cityHash64(number, 7) % 100000 / 1000"),
    ("Объём", "Nullable(Float64)", "if(number % 5 = 0, NULL, cityHash64(number, 8) % 100000 / 1000)"),
    ("SVOD.Дата отправки", "DateTime", "toDateTime('2024-01-01 00:00:00') + number % 86400 * 60"),
    ("Прибыл", "Nullable(DateTime)", "if(number % 7 = 0, NULL, toDateTime('2024-01-01 00:00:00') + number)"),
    ("Дата 1", "Date", "toDate('2024-01-01') + number % 300"),
    ("Дата 2", "Date", "toDate('2024-01-01') + number % 200"),
    ("Код", "UUID", "generateUUIDv4()"),
    ("Большое", "UInt64", "cityHash64(number) % 1000000000000"),
]


def older(started: Server, path: Path) -> None:
    """LIMIT and OFFSET, `execute`, csv.writer."""
    with started.client(compression="lz4") as client, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        for offset in range(0, ROWS, PAGE):
            rows = client.execute(f"SELECT * FROM orders ORDER BY rownumber LIMIT {PAGE} OFFSET {offset}")
            writer.writerows(row[1:] for row in rows)


def ours(started: Server, path: Path) -> None:
    """Pages by the key, rows formatted by the server."""
    opened = ClickHouseWarehouse(click_settings(started))
    columns, page = opened.columns("orders"), Page(PAGE, 0)
    with path.open("wb") as file:
        while page.rows == PAGE:
            page = opened.csv_page(Extract("orders", ()), columns, page.last_key, PAGE, CsvDialect(), file.write)
    opened.close()


def measured(way: Callable[[Server, Path], None], started: Server, path: Path) -> tuple[float, float]:
    """Seconds and MiB at most of a way, in a process of its own."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        began = time.perf_counter()
        way(started, path)
        sender.send((time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))

    process = context.Process(target=run)
    process.start()
    sender.close()  # a child that fails is then the end of the pipe, not silence
    found: tuple[float, float] = receiver.recv()
    process.join()
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as started:
        columns = ", ".join(f"`{column}` {type_}" for column, type_, _ in COLUMNS)
        started.run(f"CREATE TABLE orders (rownumber UInt64, {columns}) ENGINE = MergeTree ORDER BY rownumber")
        values = ", ".join(value for *_, value in COLUMNS)
        started.run(f"INSERT INTO orders SELECT number + 1, {values} FROM numbers({ROWS})")
        sys.stdout.write(f"{ROWS} rows of {len(COLUMNS)} columns from ClickHouse to CSV\n")
        taken = {way.__name__: measured(way, started, Path(name) / "file.csv") for way in (ours, older)}
        for way, (seconds, size) in taken.items():
            sys.stdout.write(f"{way:8}{seconds:8.1f} s{ROWS / seconds:10.0f} rows/s{size:8.0f} MiB\n")
        sys.stdout.write(f"{taken['older'][0] / taken['ours'][0]:.1f} times faster\n")


if __name__ == "__main__":
    main()
