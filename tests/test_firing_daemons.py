"""Real daemons fire the schedules of their workloads."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests import ROOT
from tests.daemons import Daemon, environment
from tests.database import Queries
from tests.waiting import wait_for

#: Seconds of the schedules that are looked at.
SECONDS = 10


def test_three_daemons_of_which_one_is_killed_now_and_then_fire_each_slot_once(
    start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    def start() -> Daemon:
        return start_daemon(integrations="ticking", workers=1)

    daemons = [start() for _ in range(3)]
    for turn in itertools.count():
        least = sql.value("SELECT min(n) FROM (SELECT count(*) AS n FROM tksva_q.slot GROUP BY schedule) AS per")
        if (least or 0) >= SECONDS:
            break
        daemons[turn % 3].kill()
        daemons[turn % 3] = start()
        had = sql.value("SELECT count(*) FROM tksva_q.slot")
        wait_for(lambda had=had: sql.value("SELECT count(*) FROM tksva_q.slot") >= had + 20)
    gaps = sql(
        "SELECT schedule, count(*), count(DISTINCT planned_at), extract(epoch FROM max(planned_at) - min(planned_at))"
        " FROM tksva_q.job GROUP BY schedule"
    )
    assert len(gaps) == 10
    assert all(jobs == slots == seconds + 1 for _, jobs, slots, seconds in gaps), gaps
    assert not sql.value("SELECT count(*) FROM tksva_q.slot WHERE fate <> 'fired'")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") > 50)


def test_a_schedule_that_nobody_could_keep_stops_the_start(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "integrations"
    folder.mkdir()
    (folder / "wrong.py").write_text(
        "from processings import processing\nfrom schedules import Schedule\n"
        "SCHEDULES = (Schedule('nightly', '61 * * * *', 'idle'),)\n"
        "@processing('idle')\ndef idle(task): pass\n",
        encoding="utf-8",
    )
    given = environment(database, tmp_path, integrations="wrong") | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "queue_manager.py")],
        env=given, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("расписание nightly: cron '61 * * * *'")
    assert ended.stderr.count("\n") == 1
