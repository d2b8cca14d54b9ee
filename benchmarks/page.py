"""What the web process costs: its pages with a short history and with a long one, and many browsers that watch."""

import contextlib
import http.client
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.bench import Bench
from benchmarks.daemon import environment
from benchmarks.report import Section, seconds, times
from benchmarks.server import sql
from faults.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
FINISHED = """
INSERT INTO tksva_q.job (form, user_id, file_name, state, attempt, spent, error, queued_at, started_at, finished_at,
    rows, total, bytes)
SELECT 'DownloadForStationForm', n %% 9, n || '.csv', state, 1, 1, CASE state WHEN 'failed' THEN '…' END,
       at - interval '40 s', at - interval '30 s', at, n, n, n
FROM (SELECT n, CASE WHEN n %% 20 = 0 THEN 'failed' WHEN n %% 31 = 0 THEN 'cancelled' ELSE 'done' END AS state,
             now() - n * interval '80 ms' AS at FROM generate_series(1, %s) n) made
"""
#: Path -> seconds between two requests: the first page is drawn at most once a second.
PAGES = {"/": 1.05, "/jobs": 0, "/jobs?state=failed": 0, "/api/jobs?user=3": 0, "/metrics": 0}
BROWSERS = 200


def measure(bench: Bench) -> Section:
    """Measure the pages on two histories, then the browsers."""
    few, many = bench.plan.history
    section = Section(
        f"Page: {few:,} finished jobs against {many:,}; {BROWSERS} browsers on /api/events",
        ("median answer", "short", "long", "long × short"),
    )
    short, long = (_answers(bench, history) for history in (few, many))
    for path, took in short.items():
        section.rows.append((path, seconds(took), seconds(long[path]), times(long[path] / took)))
    section.most("first page, long history", long["/"] * 1e3, 100, " ms")
    share, connections = _browsers(bench)
    section.most(f"{BROWSERS} browsers", share * 100, 10, " % of a core")
    section.most(f"{BROWSERS} browsers", connections, 1, " database connection")
    return section


def _answers(bench: Bench, history: int) -> dict[str, float]:
    conninfo = bench.server.database(f"page_{history}")
    sql(conninfo, FINISHED, history)
    sql(conninfo, "VACUUM ANALYZE tksva_q.job")
    with _web(bench, conninfo) as (port, _):
        return {
            path: statistics.median(_answer(port, path, pause) for _ in range(bench.plan.asked))
            for path, pause in PAGES.items()
        }


def _answer(port: int, path: str, pause: float) -> float:
    time.sleep(pause)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took = time.perf_counter() - began
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{path}: {answer.status}")
    return took


def _browsers(bench: Bench) -> tuple[float, int]:
    """Return the share of a core that the web process uses while a bar moves, and its connections."""
    conninfo = bench.server.database("page_browsers")
    sql(
        conninfo,
        "INSERT INTO tksva_q.job (form, state, worker, attempt, total)"
        " VALUES ('f', 'running', gen_random_uuid(), 1, 100000000)",
    )
    with _web(bench, conninfo) as (port, process), contextlib.ExitStack() as open_wires:
        for _ in range(BROWSERS):
            wire = open_wires.enter_context(socket.create_connection(("127.0.0.1", port)))
            wire.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wire.recv(4096)
        began, used = time.monotonic(), _cpu(process)
        while time.monotonic() < began + bench.plan.watched_seconds:
            sql(conninfo, "UPDATE tksva_q.job SET rows = rows + 1000")
            time.sleep(0.1)
        share = (_cpu(process) - used) / (time.monotonic() - began)
        found = sql(conninfo, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q web%'")
        return share, int(found[0][0])


def _cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


@contextlib.contextmanager
def _web(bench: Bench, conninfo: str) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    keys = environment(conninfo, bench.folder / "web", {"web_port": port}) | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "web"], cwd=bench.folder, env=keys, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                _answer(port, "/openapi.json", 0)
                break
            if time.monotonic() > deadline:
                raise RuntimeError("the web process does not answer")
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
