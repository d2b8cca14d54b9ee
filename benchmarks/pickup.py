"""How long a row waits on an idle queue: from its insert to the first statement of the work itself."""

import json
import random
import select
import statistics
import subprocess
import sys
import time

import psycopg2

from benchmarks.bench import Bench
from benchmarks.drain import workers
from benchmarks.measure import ROOT, installed
from benchmarks.peers.queues import CHANNEL, FIRST_STATEMENT, started
from benchmarks.report import Section, seconds
from benchmarks.server import sql
from benchmarks.warehouse import CONDITIONS

#: A warehouse table that says when it is read; the catalog has been asked for its columns before that.
TELLING = f"""
CREATE FUNCTION tell() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN PERFORM 1 FROM ({FIRST_STATEMENT}) told; RETURN 1; END $$;
CREATE SCHEMA audit;
CREATE VIEW audit._sales__execution_orders AS
SELECT told.rownumber, 'x' AS "Примечание", '{CONDITIONS["railway_name"]}' AS "Дор. Отправления",
       timestamp '2024-01-01' AS "SVOD.Дата отправки"
FROM (SELECT tell() AS rownumber OFFSET 0) told;
INSERT INTO "user" (id, username) VALUES (1, 'benchmark');
"""
PEERS = {"procrastinate": ("procrastinate_queue", "procrastinate"), "pgqueuer": ("pgqueuer_queue", "pgqueuer")}
WHOLE_JOB = "insert into post → the child asks the warehouse"


def measure(bench: Bench) -> Section:
    """Compare the medians and the 99th percentiles."""
    taken = {WHOLE_JOB: _own(bench)}
    for name, (module, package) in PEERS.items():
        if installed(package):
            taken[f"{name}: defer → the job's first statement"] = _peer(bench, module)
    section = Section(f"Pickup on an idle queue, {bench.plan.pickups} times", ("", "median", "99th", "slowest"))
    for name, waits in taken.items():
        section.rows.append((name, *(seconds(value) for value in (*_percentiles(waits), max(waits)))))
    middle, late = _percentiles(taken[WHOLE_JOB])
    section.most("median", middle * 1e3, 8, " ms")
    section.most("99th percentile", late * 1e3, 30, " ms")
    return section


def _percentiles(waits: list[float]) -> tuple[float, float]:
    ordered = sorted(waits)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def _own(bench: Bench) -> list[float]:
    conninfo = bench.server.database("pickup")
    sql(conninfo, TELLING)
    listener = psycopg2.connect(conninfo)
    listener.autocommit = True
    listener.cursor().execute(f"LISTEN {CHANNEL}")
    waits = []
    with bench.daemon(conninfo) as daemon:
        for _ in range(bench.plan.pickups + 1):
            time.sleep(random.uniform(0.02, 0.06))  # noqa: S311 -- no secret
            submitted = time.time()
            row = daemon.post("pickup.csv", CONDITIONS)
            waits.append(started(listener) - submitted)
            while daemon.query("SELECT task_status FROM post WHERE id = %s", row) != [("файл подготовлен",)]:
                select.select([listener], [], [], 0.005)
            listener.poll()
            listener.notifies.clear()  # the page's own reading has told as well
    listener.close()
    return waits[1:]  # the first one opened the warehouse


def _peer(bench: Bench, module: str) -> list[float]:
    conninfo = bench.server.database("peer")
    with workers(module, conninfo, "one", 1):
        _ask(module, conninfo, 3)
        return _ask(module, conninfo, bench.plan.pickups)


def _ask(module: str, conninfo: str, count: int) -> list[float]:
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", "pickup", conninfo, str(count)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]
