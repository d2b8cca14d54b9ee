"""What many browsers and many jobs cost."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import httpx
import psutil

from tests import ROOT
from tests.database import Queries
from tests.waiting import BUSY, wait_for
from tests.web.server import Web

BROWSERS = 200
SECONDS = 10
FINISHED = """
INSERT INTO tksva_q.job (form, user_id, file_name, state, attempt, started_at, finished_at, rows, total, bytes)
SELECT 'f', g % 9, g || '.csv', CASE g % 50 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'done' END, 1,
       now() - g * interval '1 s', now() - g * interval '1 s', g, g, g
FROM generate_series(1, 200000) g
"""


def cpu(web: Web) -> float:
    """Seconds of a core that the process has used."""
    times = psutil.Process(web.process.pid).cpu_times()
    return times.user + times.system


def moves(wire: socket.socket) -> int:
    """How often a bar has moved since the last look."""
    wire.setblocking(False)
    pieces = []
    with contextlib.suppress(BlockingIOError):
        while piece := wire.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces).count(b"event: progress")


def test_two_hundred_browsers_cost_a_tenth_of_a_core_and_one_connection(web: Web, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, worker, attempt, total)"
        " VALUES ('f', 'running', gen_random_uuid(), 1, 1000000)"
    )
    wires = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(BROWSERS)]
    for wire in wires:
        wire.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for wire in wires:
        wire.settimeout(60)
        assert wire.recv(4096).startswith(b"HTTP/1.1 200")
    began, used = time.monotonic(), cpu(web)
    seen = [0] * BROWSERS
    while time.monotonic() < began + SECONDS or min(seen) < SECONDS:  # the bar moves all the time
        assert time.monotonic() < began + 100, f"the slowest browser has seen {min(seen)} moves"
        sql("UPDATE tksva_q.job SET rows = rows + 1000")
        time.sleep(0.1)
        seen = [before + moves(wire) for before, wire in zip(seen, wires, strict=True)]
    share = (cpu(web) - used) / (time.monotonic() - began)
    for wire in wires:
        wire.close()
    assert share < 0.1 * BUSY, f"{share:.1%} of a core"  # a tenth, on a quiet machine, is the benchmark's matter
    connections = sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q web%'")
    assert connections == 1


def test_the_page_costs_no_more_however_many_jobs_have_ended(client: httpx.Client, sql: Queries) -> None:
    sql(FINISHED)
    sql("VACUUM ANALYZE tksva_q.job")

    def seconds(path: str) -> float:
        began = time.perf_counter()
        assert client.get(path).status_code == 200
        return time.perf_counter() - began

    def drawn() -> float:
        time.sleep(1.01)  # what was drawn is a second old
        return seconds("/")

    assert min(drawn() for _ in range(5)) < 0.1 * BUSY  # the median, on a quiet machine, is the benchmark's matter
    for path in ("/jobs", "/jobs?state=failed", "/api/jobs?user=3", "/metrics"):
        assert min(seconds(path) for _ in range(3)) < 0.5 * BUSY


def test_a_browser_that_goes_away_is_forgotten(web: Web) -> None:
    process = psutil.Process(web.process.pid)
    before = process.num_fds()
    wires = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(20)]
    for wire in wires:
        wire.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.recv(4096)
    assert process.num_fds() >= before + 15
    for wire in wires:
        wire.close()
    wait_for(lambda: process.num_fds() <= before + 2, 60)


def test_the_web_process_imports_nothing_heavy() -> None:
    heavy = "pandas numpy openpyxl sqlalchemy alembic clickhouse_driver"
    code = f"import sys, web.app; sys.exit(' '.join(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
