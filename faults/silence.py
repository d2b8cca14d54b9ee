"""A network that swallows packets both ways: nobody is told, nothing comes through, then it is back."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil

import statuses
from faults.bench import LONG, USER, Bench
from faults.daemon import Daemon, wait_for
from faults.proxy import Proxy
from faults.report import Result, spread
from faults.watch import watching

#: Within how many seconds after the network's return the queue must have claimed again.
CLAIM_SECONDS = 3.0


def run(bench: Bench, times: int = 4, seconds: float = 60, heartbeat: float = 5, export: float = 8) -> list[Result]:
    """Take the network away from the first of two daemons `times` times, for `seconds` each.

    Args:
        heartbeat: HEARTBEAT_SECONDS of both.
        export: seconds that the export takes under which the network goes: more than a heartbeat.
    """
    bench.learn(LONG)
    bench.slow_down(export)
    margins: list[float] = []
    claims: list[float] = []
    lost: list[str] = []
    with closing(Proxy(bench.server.port)) as proxy, watching(bench.files / str(USER), bench.reference) as watch:
        first = bench.daemon(psql_host="127.0.0.1", psql_port=proxy.port, heartbeat_seconds=heartbeat)
        me = worker_of(bench, first)
        for number in range(times):
            # The second one begins when the first has its job: only a takeover brings it there.
            post = bench.ask(LONG[number % len(LONG)])
            job, attempt = _running_at(bench, me, post)
            second = bench.daemon(heartbeat_seconds=heartbeat)
            # The phase between heartbeat and silence decides who is first: let it be another each time.
            time.sleep(heartbeat * number / max(1, times))
            with proxy.silence(forget=number % 2 == 1), deaths(first.children()) as ends:
                silent = time.monotonic()
                taken = taken_over(bench, job, attempt)
                bench.await_status(post, statuses.PREPARED)
                time.sleep(max(0.0, seconds - (time.monotonic() - silent)))
                bench.ask(LONG[0])
                returned = time.time()
            margins += [taken - death for death in ends]
            if not ends:
                lost.append("no child of the first daemon was stopped")
            claims.append(bench.await_claim(returned, me))
            if second.stop():
                lost.append("the second daemon did not end well")
        bench.slow_down(0)
        bench.await_all()
        if not first.lives or first.stop():
            lost.append("the first daemon did not live through it")
    lost += [f"a child lived {-margin:.2f} s beyond the takeover" for margin in margins if margin < 0]
    lost += [f"first claim {late:.2f} s after the network's return" for late in claims if late > CLAIM_SECONDS]
    figures = {
        "секунд молчания": f"{seconds:g}",
        "ребёнок остановлен до перехвата, за": f"{min(margins, default=0):.2f} с и больше",
        "от возврата сети до взятой работы": spread(claims),
    }
    return [Result("сеть молчит", times, lost + watch.lost + bench.losses(), figures)]


def worker_of(bench: Bench, daemon: Daemon) -> str:
    """Return the id under which a daemon claims."""
    return wait_for(
        lambda: next(
            (
                str(worker)
                for (worker,) in bench.sql("SELECT id FROM tksva_q.worker WHERE process LIKE %s", f"{daemon.pid}:%")
            ),
            None,
        ),
        "the worker of a daemon",
    )


def _running_at(bench: Bench, worker: str, post: int) -> tuple[int, int]:
    """Wait until the job of a row runs at a worker and has written a page; return its id and attempt."""

    def found() -> tuple[int, int] | None:
        rows = bench.sql(
            "SELECT id, attempt FROM tksva_q.job WHERE post_id = %s AND state = 'running' AND worker::text = %s"
            " AND rows > 0",
            post,
            worker,
        )
        return (rows[0][0], rows[0][1]) if rows else None

    return wait_for(found, "a job that runs at the first daemon")


def taken_over(bench: Bench, job: int, attempt: int) -> float:
    """Wait until another attempt of the job begins; return when, in Unix seconds."""
    return float(
        wait_for(
            lambda: bench.value(
                "SELECT extract(epoch FROM min(started_at))::float8 FROM tksva_q.attempt"
                " WHERE job_id = %s AND attempt > %s",
                job,
                attempt,
            ),
            lambda: f"the takeover of job {job}; {bench._story()}",
        )
    )


@contextmanager
def deaths(children: list[psutil.Process]) -> Iterator[list[float]]:
    """Collect when these processes end while the block runs, in Unix seconds."""
    ends: list[float] = []
    waits = [threading.Thread(target=_await_end, args=(child, ends), daemon=True) for child in children]
    for wait in waits:
        wait.start()
    yield ends
    for wait in waits:
        wait.join(5)


def _await_end(child: psutil.Process, ends: list[float]) -> None:
    with contextlib.suppress(ProcessLookupError):
        end = os.pidfd_open(child.pid)
        select.select([end], [], [])
        os.close(end)
    ends.append(time.time())
