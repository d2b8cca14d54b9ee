"""How late the job of a slot begins: schedules that are due every second, while two exports run."""

import itertools
import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.daemon import PATIENCE, Daemon
from benchmarks.drain import workers
from benchmarks.measure import installed
from benchmarks.own.integrations.clockwork import COUNT, TABLE
from benchmarks.report import Section, seconds
from benchmarks.server import sql
from benchmarks.warehouse import CONDITIONS

OWN = "the queue, WORKERS=4"
PEER = "procrastinate, 10 coroutines"
#: Exports that run beside the slots: as soon as one has ended the next one of its kind begins.
EXPORTS = (".csv", ".xlsx")
PREPARED = "SELECT 1 FROM post WHERE id = %s AND task_status = 'файл подготовлен'"
#: Seconds by which a slot may be late, and the share of slots that must not be later.
LIMIT, SHARE = 1.0, 0.99


def measure(bench: Bench) -> Section:
    """Compare how late the jobs of slots begin, from the planned time to the job's first statement."""
    bench.warehouse.use(bench.plan.csv_rows)
    conninfo = bench.warehouse.conninfo
    sql(conninfo, TABLE)
    taken = {OWN: _own(bench, conninfo)}
    if installed("procrastinate"):
        taken[PEER] = _peer(bench, conninfo)
    section = Section(
        f"Punctuality of {len(taken[OWN]):,} slots, {COUNT} every second, while two exports run",
        ("", "median", "99th", "latest", f"within {LIMIT:g} s"),
    )
    for name, late in taken.items():
        ordered = sorted(late)
        figures = (statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * SHARE))], ordered[-1])
        section.rows.append((name, *(seconds(value) for value in figures), f"{_within(late):.1%}"))
    section.least(f"slots that begin within {LIMIT:g} s of their time", _within(taken[OWN]) * 100, SHARE * 100, " %")
    return section


def _within(late: list[float]) -> float:
    return sum(one <= LIMIT for one in late) / len(late)


def _own(bench: Bench, conninfo: str) -> list[float]:
    with bench.daemon(conninfo, workers=4, integrations="clockwork", chunk_size=bench.plan.chunk_size) as daemon:
        return _watched(bench, daemon, conninfo)


def _peer(bench: Bench, conninfo: str) -> list[float]:
    with bench.daemon(conninfo, workers=2, chunk_size=bench.plan.chunk_size) as daemon:
        own = bench.server.database("peer")
        sql(own, TABLE)
        with workers("procrastinate_queue", own, "clock", 1):
            return _watched(bench, daemon, own)


def _watched(bench: Bench, daemon: Daemon, conninfo: str) -> list[float]:
    """Let exports run until enough slots have had their job; return how late each began, in seconds."""
    exports = _exports(daemon)
    next(exports)
    while not sql(conninfo, "SELECT 1 FROM punctual LIMIT 1"):
        time.sleep(0.05)
        next(exports)
    begin = int(time.time()) + 2
    end = begin + max(1, bench.plan.slots // COUNT)
    while time.time() < end:
        time.sleep(0.02)
        next(exports)
    deadline = time.monotonic() + PATIENCE
    wanted = (end - begin) * COUNT
    while len(late := _late(conninfo, begin, end)) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(late)} of {wanted} slots had a job")
        time.sleep(0.05)
    return late


def _late(conninfo: str, begin: int, end: int) -> list[float]:
    found = sql(
        conninfo,
        "SELECT extract(epoch FROM began_at - planned_at)::float8 FROM punctual"
        " WHERE planned_at >= to_timestamp(%s) AND planned_at < to_timestamp(%s)",
        begin,
        end,
    )
    return [late for (late,) in found]


def _exports(daemon: Daemon) -> Iterator[None]:
    """Keep an export of each kind running whenever the iterator is moved on."""
    running: dict[str, int] = {}
    for number in itertools.count():
        for kind in EXPORTS:
            row = running.get(kind)
            if row is None or daemon.query(PREPARED, row):
                running[kind] = daemon.post(f"punctual {number}{kind}", CONDITIONS)
        yield
