"""Three daemons, hundreds of short jobs, one of the daemons killed every second."""

from __future__ import annotations

import time

from faults.bench import USER, Bench, Wish
from faults.daemon import luck
from faults.report import Result
from faults.watch import watching

DAEMONS = 3
SHORT = Wish("малая", "DownloadForStationForm", "station_name", "Зеленоградск-Новый", ".csv")


def run(bench: Bench, jobs: int = 600, period: float = 1.0) -> list[Result]:
    """Queue `jobs` short jobs, and kill a daemon every `period` seconds until they have ended."""
    bench.learn((SHORT,))
    lost: list[str] = []
    kills = 0
    with watching(bench.files / str(USER), bench.reference) as watch:
        crowd = [bench.daemon() for _ in range(DAEMONS)]
        began = time.monotonic()
        for _ in range(jobs):
            bench.ask(SHORT)
        while bench.value("SELECT count(*) FROM post WHERE task_status NOT IN ('файл подготовлен', 'ошибка')"):
            time.sleep(period)
            victim = luck.randrange(DAEMONS)
            crowd[victim].kill()
            crowd[victim] = bench.daemon(wait=False)
            kills += 1
            bench.hurry()
        seconds = time.monotonic() - began
        for daemon in crowd:
            daemon.await_line(" started ")
            if status := daemon.stop():
                lost.append(f"a daemon ended with status {status}")
    lost += watch.lost + bench.losses()
    if len(watch.published) != len(bench.posts):
        lost.append(f"{len(watch.published)} files of {len(bench.posts)} were published")
    interrupted = bench.value("SELECT count(*) FROM tksva_q.attempt WHERE outcome <> 'done'")
    figures = {"работ": str(jobs), "секунд": f"{seconds:.0f}", "прервано попыток": str(interrupted)}
    return [Result(f"{DAEMONS} демона, один убит каждую секунду", kills, lost, figures)]
