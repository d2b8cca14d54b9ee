"""How fast empty jobs are handed out over RabbitMQ: the queue's workers beside TaskIQ's own, on the same broker."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.drain import own
from benchmarks.measure import ROOT, Run, Sample, in_turns, installed, median
from benchmarks.report import Section, rate, times
from benchmarks.server import sql
from faults.rabbitmq import RabbitMQ, running_rabbitmq

WORKERS = (1, 2, 4)
#: What the queue is to reach of TaskIQ's own rate.
SHARE = 0.7
_MODULE = "benchmarks.peers.taskiq_queue"
#: Seconds that TaskIQ's workers get to connect: they say nothing when they have.
_WARM = 20


def measure(bench: Bench) -> Section:
    """Compare the jobs a second of 1, 2 and 4 workers."""
    count = bench.plan.drained
    section = Section(
        f"Empty jobs over RabbitMQ: {count:,} of them",
        ("workers", "the queue", "TaskIQ by itself", "the queue × TaskIQ"),
    )
    if not installed("taskiq_aio_pika"):
        return section
    contenders: dict[str, Run] = {}
    conninfo = bench.server.database("broker")
    with running_rabbitmq() as rabbitmq:
        for workers in WORKERS:
            contenders[f"the queue, {workers}"] = partial(_queue, bench, conninfo, rabbitmq, workers, count)
            contenders[f"TaskIQ, {workers}"] = partial(_taskiq, bench.folder, rabbitmq, workers, count)
        samples = in_turns(contenders, bench.plan.runs, lambda: sql(conninfo, "CHECKPOINT"))
    rates = {name: count / median(taken) for name, taken in samples.items()}
    for workers in WORKERS:
        ours, theirs = rates[f"the queue, {workers}"], rates[f"TaskIQ, {workers}"]
        section.rows.append((str(workers), rate(ours), rate(theirs), times(ours / theirs)))
        section.least(f"{workers} workers, the queue × TaskIQ", ours / theirs, SHARE)
    section.notes.append(
        "TaskIQ runs a coroutine in the worker and forgets it. The queue's jobs are rows that survive the broker, are "
        "claimed by priority and age, run once whatever is delivered twice, in a child process that has a time limit "
        "and can be cancelled, and are journalled. A child goes on with the next job by itself, without waiting for a "
        "message; the messages of those jobs find nothing left to do."
    )
    return section


def _queue(bench: Bench, conninfo: str, rabbitmq: RabbitMQ, workers: int, count: int) -> Sample:
    settings = {"broker_url": rabbitmq.url, "integrations": "benchmark"}
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(bench.daemon(conninfo, **settings))
        for _ in range(workers):
            stack.enter_context(bench.worker(conninfo, **settings))
        own(daemon, workers * 20)
        return own(daemon, count)


def _taskiq(folder: Path, rabbitmq: RabbitMQ, workers: int, count: int) -> Sample:
    fifo = folder / "taskiq.fifo"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo)
    environment = os.environ | {"TASKIQ_URL": rabbitmq.url, "TASKIQ_FIFO": str(fifo)}
    with _workers(environment, workers):
        _ask(environment, workers * _WARM, fifo)
        return Sample(_ask(environment, count, fifo))


def _ask(environment: dict[str, str], count: int, fifo: Path) -> float:
    command = [sys.executable, "-m", _MODULE, "drain", environment["TASKIQ_URL"], str(count), str(fifo)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


@contextlib.contextmanager
def _workers(environment: dict[str, str], count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "taskiq", "worker", f"{_MODULE}:broker", "--workers", str(count)]
    running = subprocess.Popen([*command, "--log-level", "WARNING"], cwd=ROOT, env=environment)
    try:
        time.sleep(2 + count / 2)  # or the one that is there first would have all
        yield
    finally:
        running.terminate()
        running.wait(60)
