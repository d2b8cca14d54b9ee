"""SIGKILL at random moments: of the daemon, of its child, of both, of the fork server between them."""

from __future__ import annotations

import contextlib
import time

import psutil

from faults.bench import USER, Bench
from faults.daemon import Daemon, luck, wait_for
from faults.report import Result, spread
from faults.watch import watching

VICTIMS = ("демон", "ребёнок", "демон и ребёнок", "fork-сервер")
#: How long the victim works undisturbed, at most: a little longer than an export takes.
LIFE = 1.6
#: How many of the restarted daemons are killed again before they have written anything.
INFANT_DEATHS = 0.2


def run(bench: Bench, times: int = 100) -> list[Result]:
    """Kill `times` times, then let everything finish."""
    bench.learn()
    kills = dict.fromkeys(VICTIMS, 0)
    restarts: list[float] = []
    lost: list[str] = []
    with watching(bench.files / str(USER), bench.reference) as watch:
        daemon = bench.daemon()
        for number in range(times):
            bench.keep_busy()
            time.sleep(luck.uniform(0, LIFE))
            victim = VICTIMS[number % len(VICTIMS)]
            kill(daemon, victim)
            kills[victim] += 1
            began = time.time()
            if not daemon.lives:
                daemon = bench.daemon(wait=False)
            if luck.random() < INFANT_DEATHS:
                continue
            seconds = bench.await_page(began)
            if "демон" in victim:
                restarts.append(seconds)
        wait_for(lambda: daemon.started, "the start of the last daemon")
        bench.await_all()
        if status := daemon.stop():
            lost.append(f"the last daemon ended with status {status}")
    lost += watch.lost + bench.losses()
    if left := bench.value("SELECT count(*) FROM tksva_q.worker"):
        lost.append(f"{left} dead workers are still listed")
    figures = {
        "файлов": str(len(bench.posts)),
        **{name: str(count) for name, count in kills.items()},
        "от запуска до первой новой страницы": spread(restarts),
    }
    return [Result("SIGKILL", times, lost, figures)]


def kill(daemon: Daemon, victim: str) -> None:
    """Kill one of VICTIMS; of two, the order is a matter of luck."""
    if victim == "fork-сервер":
        _kill_one(daemon.fork_server)
        return
    steps = []
    if "демон" in victim:
        steps.append(daemon.kill)
    if "ребёнок" in victim:
        steps.append(lambda: _kill_one(daemon.children))
    luck.shuffle(steps)
    for step in steps:
        step()
        time.sleep(luck.uniform(0, 0.02))


def _kill_one(processes: object) -> None:
    assert callable(processes)
    found: list[psutil.Process] = wait_for_some(processes)
    for process in found[:1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def wait_for_some(processes: object) -> list[psutil.Process]:
    """Wait a little for processes that are just being made; there are none where the daemon is dead."""
    assert callable(processes)
    deadline = time.monotonic() + 2
    while not (found := processes()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return list(found)
