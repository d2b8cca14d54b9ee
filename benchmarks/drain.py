"""How fast empty jobs are drained: a warm child that is recycled, beside threads, coroutines and a child per job."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.daemon import Daemon
from benchmarks.measure import ROOT, Run, Sample, in_turns, installed, median
from benchmarks.report import Section, rate, times
from benchmarks.server import sql

WHOLE_QUEUE = "the queue, WORKERS=2"
BRIEF = "the queue, WORKERS=2, jobs declared brief"
PROCRASTINATE = "procrastinate"
FORKING = "rq, a child process per job"


@dataclass(frozen=True)
class Peer:
    """A queue of somebody else's."""

    module: str
    packages: tuple[str, ...]
    way: str  # of its worker
    processes: int = 1
    redis: bool = False
    slow: bool = False  # fewer jobs tell its rate as well


PEERS = {
    f"{PROCRASTINATE}, 10 threads": Peer("procrastinate_queue", ("procrastinate",), "sync10"),
    f"{PROCRASTINATE}, 10 coroutines": Peer("procrastinate_queue", ("procrastinate",), "async10"),
    f"{PROCRASTINATE}, 2 processes × 10 coroutines": Peer("procrastinate_queue", ("procrastinate",), "async10", 2),
    "pgqueuer, batches of 10": Peer("pgqueuer_queue", ("pgqueuer", "asyncpg"), "batches"),
    "dramatiq with Redis, 10 threads": Peer("dramatiq_queue", ("dramatiq", "redis"), "threads", redis=True),
    FORKING: Peer("rq_queue", ("rq",), "fork", redis=True, slow=True),
    f"{FORKING}, 2 workers": Peer("rq_queue", ("rq",), "fork", 2, redis=True, slow=True),
}


def measure(bench: Bench) -> Section:
    """Compare the jobs a second."""
    count = bench.plan.drained
    section = Section(f"Empty jobs: {count:,} of them", ("", "median", "× the queue"))
    there = dict([(name, peer) for name, peer in PEERS.items() if _available(peer)][: bench.plan.peers])
    with contextlib.ExitStack() as stack:
        conninfo = bench.server.database("drain")
        daemon = stack.enter_context(bench.daemon(conninfo, workers=2, integrations="benchmark"))
        contenders: dict[str, Run] = {
            WHOLE_QUEUE: lambda: own(daemon, count, "single"),
            BRIEF: lambda: own(daemon, count, "empty"),
        }
        jobs = {name: bench.plan.drained_slow if peer.slow else count for name, peer in there.items()}
        for name, peer in there.items():
            contenders[name] = partial(_peer, bench, peer, jobs[name])
        samples = in_turns(contenders, bench.plan.runs, lambda: sql(conninfo, "CHECKPOINT"))
    rates = {name: jobs.get(name, count) / median(taken) for name, taken in samples.items()}
    for name, value in rates.items():
        section.rows.append((name, rate(value), times(value / rates[WHOLE_QUEUE])))
    section.least("jobs declared brief × one by one", rates[BRIEF] / rates[WHOLE_QUEUE], 2)
    best = max((value for name, value in rates.items() if name.startswith(PROCRASTINATE)), default=None)
    if best:
        section.least("the queue × procrastinate's best", rates[WHOLE_QUEUE] / best, 1.5)
    if FORKING in rates:
        section.least("the queue × rq's child process per job", rates[WHOLE_QUEUE] / rates[FORKING], 10)
    return section


def _available(peer: Peer) -> bool:
    return installed(*peer.packages) and (not peer.redis or shutil.which("redis-server") is not None)


def own(daemon: Daemon, count: int, form: str) -> Sample:
    """Queue jobs at once, and wait until all have been run."""
    began = time.perf_counter()
    daemon.query(
        "INSERT INTO tksva_q.job (form, params) SELECT %s, '{}' FROM generate_series(1, %s);"
        "SELECT pg_notify('tksva_q', '')",
        form,
        count,
    )
    while not daemon.drained():
        time.sleep(0.01)
    return Sample(time.perf_counter() - began)


def _peer(bench: Bench, peer: Peer, count: int) -> Sample:
    with contextlib.ExitStack() as stack:
        if peer.redis:
            address = stack.enter_context(redis(bench.folder))
        else:
            address = bench.server.database("peer")
        stack.enter_context(workers(peer.module, address, peer.way, peer.processes))
        _ask(peer, address, 20)
        return Sample(_ask(peer, address, count))


def _ask(peer: Peer, address: str, count: int) -> float:
    command = [sys.executable, "-m", f"benchmarks.peers.{peer.module}", "drain", address, str(count), peer.way]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def workers(module: str, address: str, way: str, processes: int) -> Iterator[None]:
    """Keep a peer's workers running."""
    command = [sys.executable, "-m", f"benchmarks.peers.{module}"]
    if not address.startswith("unix:"):
        subprocess.run([*command, "install", address], cwd=ROOT, check=True)
    running = [subprocess.Popen([*command, "work", address, way], cwd=ROOT) for _ in range(processes)]
    try:
        yield
    finally:
        for worker in running:
            worker.kill()
        for worker in running:
            worker.wait()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Run a Redis that keeps nothing on the disk, as its own package sets it up; yield its URL."""
    socket = folder / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait()
