"""How fast jobs are handed out over RabbitMQ: the queue's workers beside TaskIQ's own, on the same broker."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.drain import own
from benchmarks.measure import ROOT, installed
from benchmarks.report import Section, rate, times
from faults.rabbitmq import RabbitMQ, running_rabbitmq

#: What the queue is to reach of TaskIQ's own rate.
SHARE = 0.7
#: What is measured: jobs that do nothing and say so (`brief`), jobs that do a little, and empty ones one by one.
KINDS = ("empty", "short", "single")
#: The last has no goal: whoever has many such jobs declares them brief.
GOALS = ("empty", "short")
_MODULE = "benchmarks.peers.taskiq_queue"
#: Jobs that each worker gets before the measured ones.
_WARM = 20
_NOTE = """\
An empty job is declared brief: a child claims and settles up to 20 of those at a time. A single one is as empty and \
not declared so: its row, its attempt and its end are on the disk before the next one begins. A short job computes for \
about 10 ms on one core, and each worker runs one at a time. TaskIQ runs a coroutine in the worker and forgets it. The \
queue's jobs are rows that survive the broker; they are claimed by priority and age, run once whatever is delivered \
twice, in a child process that has a time limit and can be cancelled, and are journalled. A child goes on with the \
next job by itself: RabbitMQ only wakes workers that have nothing to do."""

Rates = dict[tuple[str, int, str], list[float]]


def measure(bench: Bench) -> Section:
    """Compare the jobs a second of 1, 2 and 4 workers."""
    counts = dict(zip(KINDS, bench.plan.brokered, strict=True))
    title = "Jobs over RabbitMQ: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    section = Section(title, ("", "the queue", "TaskIQ by itself", "the queue × TaskIQ"))
    if not installed("taskiq_aio_pika"):
        return section
    rates: Rates = {}
    with running_rabbitmq() as rabbitmq:
        for run in range(bench.plan.runs):
            for workers in bench.plan.broker_workers:
                for name, side in (("queue", _queue), ("taskiq", _taskiq)):
                    with side(bench, rabbitmq, workers) as drain:
                        drain("empty", workers * _WARM)
                        for kind, count in counts.items():
                            seconds = drain(kind, count)
                            rates.setdefault((name, workers, kind), []).append(count / seconds)
                            said = f"  {run + 1}/{bench.plan.runs} {name}, {workers} workers, {kind}: {seconds:.2f} s"
                            print(said, file=sys.stderr, flush=True)
    for kind in KINDS:
        for workers in bench.plan.broker_workers:
            ours, theirs = (statistics.median(rates[name, workers, kind]) for name in ("queue", "taskiq"))
            section.rows.append((f"{kind}, workers: {workers}", rate(ours), rate(theirs), times(ours / theirs)))
            if kind in GOALS:
                section.least(f"{kind} jobs, workers: {workers}, the queue × TaskIQ", ours / theirs, SHARE)
    section.notes.append(_NOTE)
    return section


#: Runs so many jobs of a kind, and returns the seconds.
Drain = Callable[[str, int], float]


@contextlib.contextmanager
def _queue(bench: Bench, rabbitmq: RabbitMQ, workers: int) -> Iterator[Drain]:
    settings: dict[str, Any] = {"broker_url": rabbitmq.url, "integrations": "benchmark"}
    conninfo = bench.server.database("broker")
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(bench.daemon(conninfo, **settings))
        for _ in range(workers):
            stack.enter_context(bench.worker(conninfo, **settings))
        yield lambda kind, count: own(daemon, count, kind).seconds


@contextlib.contextmanager
def _taskiq(bench: Bench, rabbitmq: RabbitMQ, workers: int) -> Iterator[Drain]:
    fifo = bench.written("taskiq.fifo")
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    environment = os.environ | {"TASKIQ_URL": rabbitmq.url, "TASKIQ_FIFO": str(fifo)}
    command = [sys.executable, "-m", "taskiq", "worker", f"{_MODULE}:broker", "--workers", str(workers)]
    running = subprocess.Popen([*command, "--log-level", "WARNING"], cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 60
        while rabbitmq.consumers("taskiq") < workers:  # or the first one that is there would have all
            if time.monotonic() > deadline:
                raise RuntimeError("TaskIQ's workers do not listen")
            time.sleep(0.2)
        yield lambda kind, count: _ask(environment, count, fifo, kind)
    finally:
        running.terminate()
        running.wait(60)


def _ask(environment: dict[str, str], count: int, fifo: Path, kind: str) -> float:
    command = [sys.executable, "-m", _MODULE, "drain", environment["TASKIQ_URL"], str(count), str(fifo), kind]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    return float(json.loads(done.stdout.splitlines()[-1]))
