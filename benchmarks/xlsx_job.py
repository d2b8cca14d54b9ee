"""An XLSX extract from the row in `post` to `файл подготовлен`, beside the libraries that keep memory flat."""

from functools import partial

from benchmarks.bench import Bench
from benchmarks.csv_job import WHOLE_JOB, fresh_memory, whole_job
from benchmarks.measure import Run, Sample, in_turns, installed, median, peer, spread
from benchmarks.report import Section, megabytes, rate, times
from benchmarks.server import sql

#: Peer -> its module, its package, how many times slower than the whole job it is expected to be at least.
PEERS = {
    "rustpy-xlsxwriter": ("rustpy_xlsx", "rustpy_xlsxwriter", 1.8),
    "XlsxWriter, constant memory": ("xlsxwriter_xlsx", "xlsxwriter", 7.5),
    "openpyxl, write-only": ("openpyxl_xlsx", "openpyxl", 9.0),
}
FASTEST = "rustpy-xlsxwriter"
SMALLEST = "XlsxWriter, constant memory"


def measure(bench: Bench) -> list[Section]:
    """Compare seconds and sizes, with usual texts and with unique ones; then the child's memory."""
    usual = _compare(bench, "XLSX", PEERS, unique=False)
    few, many = bench.plan.xlsx_memory
    peaks = [fresh_memory(bench, rows, "memory.xlsx") for rows in (few, many)]
    usual.most(f"child's memory at {many:,} rows", peaks[1] / 1e6, 100, " MB")
    usual.most(f"child's memory at {many:,} rows × at {few:,}", peaks[1] / peaks[0], 1.1)
    return [usual, _compare(bench, "XLSX, every text unique", {FASTEST: (*PEERS[FASTEST][:2], 1.0)}, unique=True)]


def _compare(bench: Bench, title: str, peers: dict[str, tuple[str, str, float]], *, unique: bool) -> Section:
    rows = bench.plan.xlsx_rows
    bench.warehouse.use(rows, unique=unique)
    query, conninfo, out = bench.warehouse.query(), bench.warehouse.conninfo, bench.written("peer.xlsx")
    section = Section(
        f"{title}: {rows:,} rows × {bench.warehouse.width} columns",
        ("", "median", "fastest–slowest", "rows", "× the whole job", "memory at the peak", "file"),
    )
    there = {name: module for name, (module, package, _) in peers.items() if installed(package)}
    with bench.daemon(conninfo, chunk_size=bench.plan.chunk_size) as daemon:
        contenders: dict[str, Run] = {WHOLE_JOB: lambda: whole_job(daemon, "extract.xlsx")}
        for name, module in there.items():
            contenders[name] = partial(peer, module, conninfo, query, out)
        samples = in_turns(contenders, bench.plan.runs, lambda: sql(conninfo, "CHECKPOINT"))
    ours = median(samples[WHOLE_JOB])
    for name, taken in samples.items():
        middle, last = median(taken), taken[-1]
        memory, size = megabytes(last.memory), megabytes(last.size)
        section.rows.append(
            (name, f"{middle:.2f} s", spread(taken), rate(rows / middle), times(middle / ours), memory, size)
        )
    section.most("child's memory at the peak", (samples[WHOLE_JOB][-1].memory or 0) / 1e6, 100, " MB")
    for name in there:
        section.least(f"{name} × the whole job", median(samples[name]) / ours, peers[name][2])
    if SMALLEST in there:
        section.most("the file × XlsxWriter's", _size(samples[WHOLE_JOB]) / _size(samples[SMALLEST]), 1.0)
    return section


def _size(samples: list[Sample]) -> int:
    return samples[-1].size or 0
