"""A CSV extract from the row in `post` to `файл подготовлен`, beside the server's own COPY and a data frame's CSV."""

import shutil

from benchmarks.bench import Bench
from benchmarks.daemon import Daemon
from benchmarks.measure import Run, Sample, in_turns, installed, median, peer, program, spread
from benchmarks.memory import peak_memory
from benchmarks.report import Section, megabytes, rate, times
from benchmarks.server import sql
from benchmarks.warehouse import CONDITIONS

WHOLE_JOB = "the whole job"
PSQL = r"psql \copy"
POLARS = "polars + connectorx"


def measure(bench: Bench) -> Section:
    """Compare the seconds, then the child's memory at few and at many rows."""
    rows = bench.plan.csv_rows
    bench.warehouse.use(rows)
    query, conninfo, out = bench.warehouse.query(), bench.warehouse.conninfo, bench.written("peer.csv")
    section = Section(
        f"CSV: {rows:,} rows × {bench.warehouse.width} columns",
        ("", "median", "fastest–slowest", "rows", "× psql", "memory at the peak", "file"),
    )
    with bench.daemon(conninfo, chunk_size=bench.plan.chunk_size) as daemon:
        contenders: dict[str, Run] = {WHOLE_JOB: lambda: whole_job(daemon, "extract.csv")}
        if shutil.which("psql"):
            copy = rf"\copy ({query}) TO '{out}' (FORMAT csv, DELIMITER ';', HEADER)"
            contenders[PSQL] = lambda: program(["psql", "-X", "-q", "-d", conninfo, "-c", copy], out)
        if installed("polars", "connectorx", "pyarrow"):
            contenders[POLARS] = lambda: peer("polars_csv", conninfo, query, out)
        samples = in_turns(contenders, bench.plan.runs, lambda: sql(conninfo, "CHECKPOINT"))
    limit = median(samples[PSQL]) if PSQL in samples else median(samples[WHOLE_JOB])
    for name, taken in samples.items():
        middle, last = median(taken), taken[-1]
        memory, size = megabytes(last.memory), megabytes(last.size)
        section.rows.append(
            (name, f"{middle:.2f} s", spread(taken), rate(rows / middle), times(middle / limit), memory, size)
        )
    ours = median(samples[WHOLE_JOB])
    if PSQL in samples:
        section.most(r"the whole job × psql \copy", ours / median(samples[PSQL]), 1.15)
    if POLARS in samples:
        section.least("polars + connectorx × the whole job", median(samples[POLARS]) / ours, 1.4)
    _memory(bench, section)
    return section


def whole_job(daemon: Daemon, name: str) -> Sample:
    """Prepare a file through the queue."""
    seconds = daemon.prepare(name, CONDITIONS)
    return Sample(seconds, max(map(peak_memory, daemon.child_ids())), daemon.file(name).stat().st_size)


def fresh_memory(bench: Bench, rows: int, name: str) -> int:
    """Return the most memory, in bytes, of a new child that prepares a file of so many rows."""
    bench.warehouse.use(rows)
    with bench.daemon(bench.warehouse.conninfo, chunk_size=bench.plan.chunk_size) as daemon:
        return whole_job(daemon, name).memory or 0


def _memory(bench: Bench, section: Section) -> None:
    few, many = bench.plan.csv_memory
    peaks = [fresh_memory(bench, rows, "memory.csv") for rows in (few, many)]
    section.most(f"child's memory at {few:,} rows", peaks[0] / 1e6, 80, " MB")
    section.most(f"child's memory at {many:,} rows × at {few:,}", peaks[1] / peaks[0], 1.1)
