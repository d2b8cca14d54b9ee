"""PostgreSQL goes away under everything: stopped and started again, or one connection at a time."""

from __future__ import annotations

import time
from typing import Literal, get_args

from faults.bench import USER, Bench
from faults.daemon import luck
from faults.kills import LIFE
from faults.report import Result, spread
from faults.watch import watching

Mode = Literal["fast", "immediate"]
#: What each connection tells the server of itself, and who holds it.
CONNECTIONS = {"tksva_q": "петли", "tksva_q child %": "ребёнка", "tksva_q warehouse": "хранилища"}
#: The longest time without the server, seconds.
AWAY = 2.0
#: Within how many seconds after its return the queue must have claimed again.
CLAIM_SECONDS = 3.0


def run(bench: Bench, restarts: int = 20, terminations: int = 20) -> list[Result]:
    """Restart the server, then terminate connections of each kind, while exports run."""
    bench.learn()
    with watching(bench.files / str(USER), bench.reference) as watch:
        daemon = bench.daemon()
        claims = [_restart(bench, get_args(Mode)[number % 2]) for number in range(restarts)]
        hits = dict.fromkeys(CONNECTIONS, 0)
        for number in range(terminations * len(CONNECTIONS)):
            name = list(CONNECTIONS)[number % len(CONNECTIONS)]
            bench.keep_busy()
            time.sleep(luck.uniform(0, LIFE / 2))
            hits[name] += _terminate(bench, name)
        bench.await_all()
        status = daemon.stop()
    lost = watch.lost + bench.losses()
    if status:
        lost.append(f"the daemon ended with status {status}")
    if len(bench.daemons) > 2 or not daemon.said("database_back"):
        lost.append("the daemon did not live through it")
    late = [f"first claim {seconds:.2f} s after the server's return" for seconds in claims if seconds > CLAIM_SECONDS]
    return [
        Result(
            "PostgreSQL: stop -m fast / immediate", restarts, late, {"от возврата до взятой работы": spread(claims)}
        ),
        Result(
            "pg_terminate_backend",
            sum(hits.values()),
            lost,
            {"файлов": str(len(bench.posts))} | {CONNECTIONS[name]: str(count) for name, count in hits.items()},
        ),
    ]


def _restart(bench: Bench, mode: Mode) -> float:
    """Restart the server in the middle of things; return the seconds from its return to the first claim."""
    bench.keep_busy()
    time.sleep(luck.uniform(0, LIFE))
    bench.server.stop(mode)
    time.sleep(luck.uniform(0, AWAY))
    bench.server.start()
    began = time.time()
    claimed = bench.await_claim(began)
    bench.await_page(began)
    return claimed


def _terminate(bench: Bench, name: str) -> int:
    """Terminate the connections of a kind; return how many there were, after waiting for one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        bench.keep_busy(1)
        bench.hurry()
        found = bench.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE %s",
            name,
        )
        if found:
            return int(found)
        time.sleep(0.02)
    return 0
