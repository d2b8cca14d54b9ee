"""Fifty schedules that are due every second, three daemons, one of them killed every few seconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from faults.bench import UNHEARD_OF, Bench
from faults.daemon import ROOT, Daemon, luck, wait_for
from faults.own.integrations.seconds import COUNT
from faults.report import Result, spread

DAEMONS = 3


def run(bench: Bench, seconds: float = 60, period: float = 5) -> list[Result]:
    """Kill a daemon every `period` seconds for so many seconds; each slot has been one job, done once.

    Args:
        seconds: whose slots are looked at.
        period: seconds between two deaths.
    """
    lost: list[str] = []
    crowd = [_daemon(bench) for _ in range(DAEMONS)]
    begin = int(time.time()) + 1
    end = begin + seconds
    kills = int(seconds / period)
    for number in range(kills):
        # Another moment of the second each time: before, amid and after the slots.
        time.sleep(max(0.0, begin + number * period + luck.uniform(0, 1) - time.time()))
        victim = luck.randrange(DAEMONS)
        crowd[victim].kill()
        crowd[victim] = _daemon(bench, wait=False)
    _await_slots(bench, end)
    for daemon in crowd:
        daemon.await_line(" started ")
        if status := daemon.stop():
            lost.append(f"a daemon ended with status {status}")
    planned = {datetime.fromtimestamp(begin + number, UTC) for number in range(int(seconds))}
    lost += _losses(bench, planned)
    starts = bench.sql(
        "SELECT extract(epoch FROM min(attempt.started_at) - planned_at)::float8 FROM tksva_q.job"
        " JOIN tksva_q.attempt ON job_id = job.id WHERE planned_at = ANY(%s) GROUP BY job.id",
        list(planned),
    )
    interrupted = bench.value("SELECT count(*) FROM tksva_q.attempt WHERE outcome <> 'done'")
    figures = {
        "времён": str(COUNT * len(planned)),
        "начаты после своего времени": spread([late for (late,) in starts]),
        "прервано попыток": str(interrupted),
    }
    return [Result(f"{COUNT} расписаний каждую секунду, {DAEMONS} демона", kills, lost, figures)]


def _daemon(bench: Bench, *, wait: bool = True) -> Daemon:
    return bench.daemon(wait=wait, integrations="seconds", pythonpath=ROOT / "faults" / "own")


def _await_slots(bench: Bench, end: float) -> None:
    """Wait until the slots up to `end` (Unix seconds) are decided and their jobs have ended."""

    def over() -> bool:
        bench.hurry()
        time.sleep(0.1)
        decided = bench.value("SELECT count(*) FROM tksva_q.schedule WHERE considered_at >= to_timestamp(%s)", int(end))
        return decided == COUNT and not bench.value(
            "SELECT count(*) FROM tksva_q.job WHERE state IN ('waiting', 'running') AND planned_at < to_timestamp(%s)",
            int(end),
        )

    wait_for(over, "the end of all jobs", 300)


def _losses(bench: Bench, planned: set[datetime]) -> list[str]:
    """Return a line for each slot that has not been one job, done once, with nothing left open."""
    made: dict[str, list[datetime]] = {f"second {number}": [] for number in range(COUNT)}
    for name, slot in bench.sql("SELECT schedule, planned_at FROM tksva_q.job"):
        made[name].append(slot)
    lost = [f"{name}: no job for {slot:%T}" for name, slots in made.items() for slot in sorted(planned - set(slots))]
    lost += [f"{name}: a slot has more than one job" for name, slots in made.items() if len(slots) > len(set(slots))]
    lost += [
        f"{name} of {slot:%T}: {fate}, {state}, done {done} times"
        for name, slot, fate, state, done in bench.sql(
            "SELECT job.schedule, job.planned_at, fate, state, count(*) FILTER (WHERE outcome = 'done')"
            " FROM tksva_q.job LEFT JOIN tksva_q.slot USING (schedule, planned_at)"
            " LEFT JOIN tksva_q.attempt ON attempt.job_id = job.id WHERE job.planned_at = ANY(%s)"
            " GROUP BY job.id, fate HAVING fate IS DISTINCT FROM 'fired' OR state <> 'done'"
            "   OR count(*) FILTER (WHERE outcome = 'done') <> 1",
            list(planned),
        )
    ]
    return lost + [said for daemon in bench.daemons if (said := daemon.said(UNHEARD_OF, 30))]
