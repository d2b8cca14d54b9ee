"""The table is swapped under the queue, again and again, by the Inspector's protocol: see `tksva_p`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from faults.bench import USER, Bench, Wish
from faults.daemon import ROOT, wait_for
from faults.report import Result, spread

#: Everything of the first railway, in both formats.
WISHES = tuple(
    Wish("поколение", "DownloadForRailwayForm", "railway_name", "Московская", extension)
    for extension in (".csv", ".xlsx")
)
#: Seconds that the Inspector's looks and the queue's commit may add to the job that he waits for.
SLACK = 0.5
PAGE = 20
WORKERS = 2


@dataclass(frozen=True)
class Swap:
    """One swap, in Unix seconds by the server's clock."""

    generation: int
    wanted: float  # when he asked
    began: float  # when he renamed
    ended: float  # when he took his wish back


@dataclass(frozen=True)
class Read:
    """One attempt of a job."""

    job: int
    began: float
    ended: float


def run(bench: Bench, swaps: int = 200, slack: float = SLACK) -> list[Result]:
    """Let the Inspector swap `swaps` times while exports run."""
    with subprocess.Popen(
        [sys.executable, "-m", "faults.tksva_p", bench.conninfo, str(swaps)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            wait_for(lambda: bench.value("SELECT to_regclass('audit.origin') IS NOT NULL"), "the Inspector's start")
            # The second daemon is there so that claims meet: one alone would never race with itself.
            daemons = [bench.daemon(chunk_size=PAGE, workers=WORKERS) for _ in range(2)]
            while program.poll() is None:
                bench.keep_busy(4, WISHES)
                wait_for(lambda: _few_wait(bench) or program.poll() is not None, "the jobs")
            output = program.communicate()[0]
        except BaseException:
            program.kill()  # he would swap on while he is waited for
            raise
    bench.await_all()
    made = [Swap(**json.loads(line)) for line in output.splitlines()]
    lost = [f"a daemon ended with status {status}" for daemon in daemons if (status := daemon.stop())]
    if program.returncode or len(made) != swaps:
        lost.append(f"the Inspector made {len(made)} swaps of {swaps} and ended with status {program.returncode}")
    reads = [
        Read(*row)
        for row in bench.sql(
            "SELECT job_id, extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8"
            " FROM tksva_q.attempt"
        )
    ]
    lost += _overlaps(made, reads) + _waits(made, reads, slack) + _mixtures(bench) + bench.losses()
    if deadlocks := bench.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"):
        lost.append(f"{deadlocks} deadlocks")
    figures = {
        "файлов": str(len(bench.posts)),
        "Инспектор ждал": spread([swap.began - swap.wanted for swap in made]),
        "работа шла": spread([read.ended - read.began for read in reads]),
    }
    return [Result("подмена таблицы Инспектором", len(made), lost, figures)]


def _few_wait(bench: Bench) -> bool:
    return bool(bench.value("SELECT count(*) < 4 FROM post WHERE task_status = 'в очереди'"))


def _overlaps(swaps: list[Swap], reads: list[Read]) -> list[str]:
    return [
        f"job {read.job} read while generation {swap.generation} was swapped in"
        for swap in swaps
        for read in reads
        if read.began < swap.ended and read.ended > swap.began
    ]


def _waits(swaps: list[Swap], reads: list[Read], slack: float) -> list[str]:
    lost = []
    for swap in swaps:
        running = [read.ended for read in reads if read.began <= swap.wanted <= read.ended]
        late = swap.began - max(running, default=swap.wanted)
        if late > slack:
            lost.append(f"before generation {swap.generation} the Inspector waited {late:.2f} s for nothing")
    return lost


def _mixtures(bench: Bench) -> list[str]:
    """Find files whose rows are not all of one generation, or not all there."""
    lost = []
    rows = bench.value('SELECT count(*) FROM audit.origin WHERE "Дор. Отправления" = %s', WISHES[0].value)
    for _, name in bench.posts.values():
        path = bench.files / str(USER) / name
        found = re.findall(r"поколение \d+|КП-\d{4}-\d{7}", _text(path))
        generations = {mark if mark.startswith("п") else "первая таблица" for mark in found}
        # The table that was there before the first swap had more rows.
        if len(generations) != 1 or (len(found) != rows and generations != {"первая таблица"}):
            lost.append(f"{name}: {len(found)} rows instead of {rows}, of {sorted(generations)}")
    return lost


def _text(path: Path) -> str:
    if path.suffix == ".csv":
        return path.read_text("utf-8-sig")
    with zipfile.ZipFile(path) as workbook:
        return workbook.read("xl/worksheets/sheet1.xml").decode()
