"""From ClickHouse to CSV: this project's way beside the older one, in the same run."""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Run, Sample, in_turns, median, spread
from benchmarks.memory import peak_memory
from benchmarks.report import Section, megabytes, rate, times
from csvfile import CsvDialect
from dwh import Extract, Page
from dwh_clickhouse import ClickHouseWarehouse
from faults.clickhouse import Server, click_settings, server

OURS, OLDER = "pages by the key", "LIMIT/OFFSET, execute, csv.writer"
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


def _older(started: Server, path: Path, page: int, rows: int) -> None:
    with started.client(compression="lz4") as client, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        for offset in range(0, rows, page):
            limit = min(page, rows - offset)
            found = client.execute(f"SELECT * FROM orders ORDER BY rownumber LIMIT {limit} OFFSET {offset}")
            writer.writerows(row[1:] for row in found)


def _ours(started: Server, path: Path, size: int, rows: int) -> None:
    opened = ClickHouseWarehouse(click_settings(started))
    columns, page, left = opened.columns("orders"), Page(0, 0), rows
    with path.open("wb") as file:
        while left > 0:
            limit = min(size, left)
            page = opened.csv_page(Extract("orders", ()), columns, page.last_key, limit, CsvDialect(), file.write)
            left -= page.rows
    opened.close()


def _measured(
    way: Callable[[Server, Path, int, int], None], started: Server, path: Path, page: int, rows: int
) -> Sample:
    """Run a way in a process of its own."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        began = time.perf_counter()
        way(started, path, page, rows)
        sender.send(Sample(time.perf_counter() - began, peak_memory(os.getpid()), path.stat().st_size))

    process = context.Process(target=run)
    process.start()
    sender.close()  # a child that fails is then the end of the pipe, not silence
    found: Sample = receiver.recv()
    process.join()
    return found


def measure(bench: Bench) -> Section:
    """Compare the two ways, then the memory of ours over few rows and over all."""
    rows, page = bench.plan.csv_rows, bench.plan.chunk_size
    section = Section(
        f"CSV from ClickHouse over its native protocol: {rows:,} rows × {len(COLUMNS)} columns",
        ("", "median", "fastest–slowest", "rows", "× pages by the key", "memory at the peak", "file"),
    )
    with tempfile.TemporaryDirectory(dir=bench.folder) as name, server(Path(name)) as started:
        columns = ", ".join(f"`{column}` {type_}" for column, type_, _ in COLUMNS)
        started.run(f"CREATE TABLE orders (rownumber UInt64, {columns}) ENGINE = MergeTree ORDER BY rownumber")
        values = ", ".join(value for *_, value in COLUMNS)
        started.run(f"INSERT INTO orders SELECT number + 1, {values} FROM numbers({rows})")
        file = Path(name) / "file.csv"
        contenders: dict[str, Run] = {
            OURS: partial(_measured, _ours, started, file, page, rows),
            OLDER: partial(_measured, _older, started, file, page, rows),
        }
        samples = in_turns(contenders, bench.plan.runs, lambda: None)
        few = _measured(_ours, started, file, page, rows // 5)
    ours = median(samples[OURS])
    for way, taken in samples.items():
        middle = median(taken)
        memory, size = megabytes(taken[-1].memory), megabytes(taken[-1].size)
        section.rows.append(
            (way, f"{middle:.2f} s", spread(taken), rate(rows / middle), times(middle / ours), memory, size)
        )
    section.least("the older way × pages by the key", median(samples[OLDER]) / ours, 3.0)
    most = max(sample.memory or 0 for sample in samples[OURS])
    section.most(f"memory at {rows:,} rows × at {rows // 5:,}", most / (few.memory or 1), 1.1)
    return section
