"""Frozen, not dead: a daemon and its child stand still until another has finished the job, then they wake up."""

from __future__ import annotations

import contextlib
import time

import psutil

import statuses
from faults.bench import LONG, USER, Bench
from faults.daemon import Daemon, luck, wait_for
from faults.report import Result
from faults.silence import worker_of
from faults.watch import watching

#: Seconds the zombie's child has for doing harm before its daemon may stop it.
HARM = 1.0
#: Seconds an export takes at least.
EXPORT = 3.0
#: Some are frozen when they have nearly finished.
LATE = 1.3


def run(bench: Bench, times: int = 10, heartbeat: float = 1) -> list[Result]:
    """Freeze the first of two daemons `times` times, in all phases of an export."""
    bench.learn(LONG)
    bench.slow_down(EXPORT)
    lost: list[str] = []
    with watching(bench.files / str(USER), bench.reference) as watch:
        first = bench.daemon(heartbeat_seconds=heartbeat)
        me = worker_of(bench, first)
        for number in range(times):
            post = bench.ask(LONG[number % len(LONG)])
            _await_claim(bench, me, post)
            time.sleep(luck.uniform(0, EXPORT * LATE))
            first.freeze()
            second = bench.daemon(heartbeat_seconds=heartbeat)
            bench.await_status(post, statuses.PREPARED)
            if second.stop():
                lost.append("the second daemon did not end well")
            before = _state(bench)
            _wake(bench, first, me)
            lost += [f"after SIGCONT: {change}" for change in _changes(before, _state(bench))]
        bench.slow_down(0)
        bench.await_all()
        if first.stop():
            lost.append("the zombie did not live on")
    caught = bench.value("SELECT count(*) FROM tksva_q.attempt WHERE reason = 'the worker died'")
    resigned = sum(" job_lost " in line for line in first.lines)
    figures = {"застигнуто посреди работы": str(caught), "отступили сами": str(resigned)}
    return [Result("SIGSTOP, перехват, SIGCONT", times, lost + watch.lost + bench.losses(), figures)]


def _await_claim(bench: Bench, worker: str, post: int) -> None:
    claimed = "SELECT count(*) FROM tksva_q.job WHERE post_id = %s AND worker::text = %s"
    wait_for(lambda: bench.value(claimed, post, worker), "the claim of a job")


def _wake(bench: Bench, daemon: Daemon, worker: str) -> None:
    """Wake the child, later its daemon, and give both the time for doing harm."""
    for child in daemon.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            child.resume()
    time.sleep(HARM)
    daemon.thaw()
    seen = "SELECT count(*) FROM tksva_q.worker WHERE id::text = %s AND seen_at > now() - interval '1 s'"
    wait_for(lambda: bench.value(seen, worker), "the zombie's own heartbeat")
    time.sleep(HARM)


def _state(bench: Bench) -> dict[str, object]:
    """Return every row about jobs, and every file with its inode and time."""
    state: dict[str, object] = {}
    for table in ("post", "tksva_q.job", "tksva_q.attempt", "tksva_q.page"):
        state |= {f"{table} {row}": "there" for (row,) in bench.sql(f"SELECT t::text FROM {table} t")}
    for path in bench.files.rglob("*"):
        status = path.stat()
        state[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns) if path.is_file() else "folder"
    return state


def _changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return [
        f"{what}: {before.get(what)} became {after.get(what)}"
        for what in sorted(before.keys() | after.keys())
        if before.get(what) != after.get(what)
    ]
