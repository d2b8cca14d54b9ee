"""A crew of real children: what they say, how they die, who takes their place."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import pytest

import child
import jobs
import leases
import queueing
from db import Database
from tests import ROOT
from tests.daemons import Daemon, make_settings
from tests.database import Queries
from tests.waiting import BUSY, PATIENCE, wait_for
from workers import Crew, Death, oom_kills


class Bench:
    """A crew and the database that its jobs are in."""

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        self.database = Database(conninfo, "test")
        self.worker = str(uuid.uuid4())
        with self.database.statement() as cursor:
            leases.Worker(self.worker, "here", "1:1", 600).renew(cursor)
        chosen = make_settings(conninfo, folder, integrations="testing", **settings)
        self.crew = Crew(chosen, conninfo, self.worker, chosen.workers)

    def run(self, form: str, slot: int = 0) -> int:
        """Submit a job, claim it for a slot and hand it over."""
        with self.database.transaction() as cursor:
            number = queueing.submit(cursor, form, {})
            job = jobs.claim(cursor, self.worker, slot)
        assert job is not None
        self.crew.give(slot, job)
        return number

    def deaths(self, seconds: float = PATIENCE) -> list[Death]:
        """Listen until a child has died at work, or the time is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.crew.enforce_time_limits()
            if dead := self.crew.collect():
                return dead
            wait(self.crew.channels(), min(0.1, deadline - time.monotonic()))
        return []

    def until(self, probe: object) -> None:
        def listen() -> bool:
            self.crew.collect()
            return bool(probe())  # type: ignore[operator]

        wait_for(listen)


@pytest.fixture
def bench(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made = Bench(database, tmp_path, workers=2)
    yield made
    made.crew.close()
    made.database.close()


def state(sql: Queries, job: int) -> str:
    return str(sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job))


def test_a_child_settles_its_job_and_is_idle_again(bench: Bench, sql: Queries) -> None:
    job = bench.run("empty")
    assert bench.crew.busy() == {0}
    bench.until(lambda: not bench.crew.busy())
    assert state(sql, job) == "done"
    assert bench.crew.idle() == [0, 1]
    assert bench.crew.lost() == set()


def test_a_child_goes_on_with_the_next_job_by_itself(bench: Bench, sql: Queries) -> None:
    with bench.database.transaction() as cursor:
        for _ in range(20):
            queueing.submit(cursor, "empty", {})
    bench.run("empty")
    bench.until(lambda: not bench.crew.busy())
    assert sql("SELECT state, count(*) FROM tksva_q.job GROUP BY state") == [("done", 21)]


def test_a_child_says_what_it_runs_and_for_how_long(bench: Bench) -> None:
    job = bench.run("sleepy")
    bench.until(lambda: bench.crew.slots[0].started)
    started = bench.crew.slots[0].started
    assert started is not None
    assert (started.job.id, started.time_limit) == (job, 1.0)
    assert bench.crew.next_deadline() <= time.monotonic() + 1.0


def test_the_time_limit_kills_and_the_place_is_filled_again(bench: Bench) -> None:
    bench.run("sleepy")
    before = bench.crew.slots[0].process.pid
    (death,) = bench.deaths()
    assert death.reason == "the time limit of 1 s has passed"
    assert not death.out_of_memory
    assert bench.crew.idle() == [0, 1]
    assert bench.crew.slots[0].process.pid != before


def test_a_kill_from_outside_is_told_by_its_signal(bench: Bench) -> None:
    bench.run("endless")
    bench.until(lambda: bench.crew.slots[0].started)
    os.kill(bench.crew.slots[0].process.pid or 0, signal.SIGSEGV)
    (death,) = bench.deaths()
    assert death.reason == "killed by signal 11 (SIGSEGV)"


def test_an_out_of_memory_kill_is_one_that_the_kernel_has_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kernel, suspected in ((7, False), (8, True), (None, True)):
        bench.crew._oom_kills = 7 if kernel else None
        monkeypatch.setattr("workers.oom_kills", lambda kernel=kernel: kernel)
        bench.run("suicide")
        (death,) = bench.deaths()
        assert death.out_of_memory is suspected
        assert death.reason.startswith("killed by signal 9 (SIGKILL)")


def test_a_new_child_has_been_spared_the_imports_wherever_the_daemon_stands(
    start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    start_daemon(integrations="testing")
    with contextlib.closing(Database(sql.conninfo, "test")) as own, own.transaction() as cursor:
        job = queueing.submit(cursor, "importer", {})
    imported_by, run_by = wait_for(lambda: sql.value("SELECT error FROM tksva_q.job WHERE id = %s", job)).split()
    assert imported_by != run_by


def test_the_kernels_count_of_kills_can_be_read() -> None:
    assert oom_kills() is not None


def test_a_cancelled_child_is_dead_within_a_second(bench: Bench) -> None:
    bench.run("endless")
    bench.until(lambda: bench.crew.slots[0].started)
    began = time.monotonic()
    bench.crew.kill(0, "cancelled")
    (death,) = bench.deaths()
    assert death.cause == "cancelled"
    assert time.monotonic() - began < 1 * BUSY


def test_an_idle_child_that_dies_leaves_no_job_behind(bench: Bench, sql: Queries) -> None:
    before = bench.crew.slots[0].process.pid
    bench.crew.slots[0].process.kill()
    bench.until(lambda: bench.crew.idle() == [1])  # one that cannot start is not hired over and over
    bench.until(lambda: bench.crew.idle() == [0, 1])
    assert bench.crew.slots[0].process.pid != before
    job = bench.run("empty")
    bench.until(lambda: state(sql, job) == "done")


def test_a_fork_server_that_dies_over_a_new_child_is_made_anew(bench: Bench, sql: Queries) -> None:
    fork_server = psutil.Process(bench.crew.slots[0].process.pid).parent()
    assert fork_server is not None
    fork_server.suspend()
    death = threading.Timer(0.3, fork_server.kill)
    death.start()
    bench.crew.slots[0] = bench.crew._hire(0)
    death.join()
    job = bench.run("empty")
    bench.until(lambda: state(sql, job) == "done")


def test_a_worn_child_is_replaced_between_two_jobs(bench: Bench, sql: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bench.crew.slots[0].process.pid
    with bench.database.transaction() as cursor:
        for _ in range(child.JOBS_PER_CHILD + 5):
            queueing.submit(cursor, "empty", {})
    bench.run("empty")
    bench.until(lambda: not bench.crew.busy())
    assert bench.crew.slots[0].process.pid != before
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") == child.JOBS_PER_CHILD
    bench.run("empty")
    bench.until(lambda: not sql.value("SELECT count(*) FROM tksva_q.job WHERE state <> 'done'"))


def test_a_job_whose_database_went_away_is_reported_as_lost(bench: Bench, sql: Queries) -> None:
    job = bench.run("patient")
    bench.until(lambda: bench.crew.slots[0].started)
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tksva_q child 0'")
    sql("UPDATE tksva_q.job SET params = '{\"go\": true}'")
    bench.until(lambda: bench.crew.lost() == {0})
    assert state(sql, job) == "running"


def test_a_lost_lease_ends_the_children_at_work(bench: Bench) -> None:
    bench.run("endless")
    bench.until(lambda: bench.crew.slots[0].started)
    bench.crew.kill_busy("lease lost")
    (death,) = bench.deaths()
    assert (death.slot, death.reason) == (0, "lease lost")


def test_children_asked_to_stop_claim_nothing_more(bench: Bench, sql: Queries) -> None:
    bench.crew.stop()
    bench.until(lambda: not any(slot.process.is_alive() for slot in bench.crew.slots))
    assert bench.crew.idle() == []
    assert bench.crew.busy() == set()


def test_closing_leaves_no_process(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    made = Bench(database, tmp_path, workers=2)
    family = [psutil.Process(slot.process.pid) for slot in made.crew.slots]
    made.crew.close()
    made.database.close()
    assert not [process for process in family if process.is_running() and process.status() != "zombie"]


def test_ctrl_c_waits_for_a_fork_server_that_still_imports_and_for_its_successor() -> None:
    code = """
import multiprocessing, os, pathlib, signal, workers
from multiprocessing.forkserver import _forkserver
for _ in range(2):
    process = multiprocessing.get_context("forkserver").Process(target=int)
    workers.start_process(process)
    process.join()
    print(pathlib.Path(f"/proc/{_forkserver._forkserver_pid}/status").read_text())
    os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
    os.waitid(os.P_PID, _forkserver._forkserver_pid, os.WEXITED | os.WNOWAIT)
"""
    status = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    blocked = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    assert [int(mask, 16) & 1 << signal.SIGINT - 1 for mask in blocked] == [2, 2]
