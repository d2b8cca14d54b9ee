"""What the loop's statements cost the server: with a short history and a short queue, with a long one of both."""

import re
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import attempts
import jobs
import progress
from benchmarks.bench import Bench
from benchmarks.daemon import environment
from benchmarks.report import Section, seconds, times
from benchmarks.server import sql
from jobs import Job
from progress import PageRecord, Progress
from queue_manager import QueueManager
from settings import Settings

#: Years of use: nearly all files purged, some failures, a few files not fetched yet; nothing of it is due.
HISTORY = """
INSERT INTO "user" (id, username) VALUES (1, 'benchmark');
INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download, task_status_timestamp, timestamp)
SELECT 1, 'empty', '{}', CASE WHEN n %% 20 = 0 THEN 'ошибка' WHEN n %% 1000 = 1 THEN 'файл подготовлен'
           ELSE 'скрыта менеджером очереди' END, n || '.csv', localtimestamp, localtimestamp
FROM generate_series(1, %s) n;
INSERT INTO tksva_q.job
    (post_id, user_id, form, params, file_name, attempt, spent, started_at, finished_at, state, error)
SELECT id, user_id, form_name, conditions, file_to_download, 1, 1, timestamp, timestamp,
       CASE task_status WHEN 'ошибка' THEN 'failed' ELSE 'done' END, CASE task_status WHEN 'ошибка' THEN '…' END
FROM post;
"""
WAITING = (
    """
INSERT INTO post (user_id, form_name, conditions, task_status, file_to_download, task_status_timestamp, timestamp)
SELECT 1, 'empty', '{}', 'в очереди', n || '.csv', localtimestamp, localtimestamp + n * interval '1 ms'
FROM generate_series(1, %s) n;
INSERT INTO tksva_q.job (post_id, user_id, form, params, file_name, queued_at)
SELECT id, user_id, form_name, conditions, file_to_download, timestamp
FROM post WHERE task_status = 'в очереди' ORDER BY id
""",
    "VACUUM ANALYZE post",
    "VACUUM ANALYZE tksva_q.job",
    "CHECKPOINT",
)
#: The poll of a queue without an index for it.
NAIVE = "SELECT id FROM post WHERE left(task_status, 9) = 'в очереди' ORDER BY timestamp LIMIT 1"
NAIVE_ROUNDS = 5

T = TypeVar("T")

_DURATION = re.compile(r"duration: ([\d.]+) ms")


def measure(bench: Bench) -> Section:
    """Measure every step on a short history and on a long one."""
    section = Section(
        f"History: {bench.plan.history[0]:,} rows and {bench.plan.waiting[0]:,} waiting"
        f" against {bench.plan.history[1]:,} and {bench.plan.waiting[1]:,}",
        ("the server's time, median", "short", "long", "long × short"),
    )
    short, long = (
        _Loop(bench, history, waiting).costs(bench.plan.rounds)
        for history, waiting in zip(bench.plan.history, bench.plan.waiting, strict=True)
    )
    for step, cost in short.items():
        section.rows.append((step, seconds(cost), seconds(long[step]), times(long[step] / cost)))
    for step in ("tick", "claim"):
        section.most(f"{step}, long history", long[step] * 1e3, 1, " ms")
        section.most(f"{step}, long × short", long[step] / short[step], 1.5)
    return section


class _Loop:
    """A queue manager without children, whose statements the server times."""

    def __init__(self, bench: Bench, history: int, waiting: int) -> None:
        self.conninfo = bench.server.database(f"history_{history}")
        sql(self.conninfo, HISTORY, history)
        for statement in WAITING:
            sql(self.conninfo, statement, *([waiting] * statement.count("%s")))
        keys = environment(self.conninfo, bench.folder / "loop", {})
        given: dict[str, Any] = {key.lower(): value for key, value in keys.items()}
        settings = Settings(**{name: given[name] for name in Settings.model_fields if name in given})
        with mock.patch("worker_loop.Crew") as crew:
            crew.return_value.slots = []
            self.manager = QueueManager(settings, self.conninfo)
        self.database = self.manager.database

    def costs(self, rounds: int) -> dict[str, float]:
        """Return the median of the server's seconds for every step."""
        self.manager._connect()
        with self.database.statement() as cursor:
            cursor.execute("SET log_min_duration_statement = 0; SET client_min_messages = log")
        costs: dict[str, list[float]] = {}
        for _ in range(rounds):
            took, job = self._timed(self._claim)
            costs.setdefault("claim", []).append(took)
            costs.setdefault("progress", []).append(self._timed(partial(self._progress, job))[0])
            costs.setdefault("settle", []).append(self._timed(partial(self._settle, job))[0])
            costs.setdefault("tick", []).append(self._timed(self._tick)[0])
        costs["(a poll without an index)"] = [self._timed(self._naive)[0] for _ in range(NAIVE_ROUNDS)]
        self.manager._leave()
        self.database.close()
        return {step: statistics.median(taken) for step, taken in costs.items()}

    def _timed(self, step: Callable[[], T]) -> tuple[float, T]:
        """Run a step; return what the server says all its statements took, and what the step returned."""
        connection = self.database.connect()
        connection.notices.clear()
        result = step()
        return sum(float(took) for notice in connection.notices for took in _DURATION.findall(notice)) / 1e3, result

    def _claim(self) -> Job:
        with self.database.statement() as cursor:
            job = jobs.claim(cursor, self.manager.me.id, 0)
        if job is None:
            raise RuntimeError("nothing was claimed")
        return job

    def _progress(self, job: Job) -> None:
        page = PageRecord(1, 50_000, 20_000_000, {"fetch": 0.3, "write": 0.01, "page": 0.31})
        with self.database.statement() as cursor:
            progress.record(cursor, job.fence, Progress(50_000, 100_000, 20_000_000, {"key": 50_000}, page))

    def _settle(self, job: Job) -> None:
        with self.database.transaction() as cursor:
            jobs.settle(cursor, job.fence, job.dwh_table, attempts.DONE)

    def _tick(self) -> None:
        self.manager._tick()
        self.manager._dispatch()

    def _naive(self) -> None:
        with self.database.statement() as cursor:
            cursor.execute(NAIVE)
