"""Who is alive, who is dead, and who comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import leases
from db import Database
from leases import Worker
from tests.claims import expire, give_job, me, other, renew, rescued, settle, workers
from tests.database import TABLE, Queries, held
from tests.waiting import wait_for

__all__ = ["me"]  # a fixture


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until the test ends it."""
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield living
    finally:
        assert living.stdin
        living.stdin.close()
        living.wait()


def local(own: Database, pid: int, lease: float = 15) -> Worker:
    name = leases.process_id(pid)
    assert name is not None
    return other(own, leases.host_id(), name, lease)


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_pid_and_its_start() -> None:
    assert leases.process_id(os.getpid()) == leases.process_id(os.getpid())
    pid, start = str(leases.process_id(os.getpid())).split(":")
    assert (int(pid), int(start) > 0) == (os.getpid(), True)


def test_a_process_whose_name_looks_like_the_fields_after_it_is_read_right() -> None:
    rename = "open('/proc/self/comm', 'w').write(') Z (x) 1 2'); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as odd:
        assert odd.stdout
        odd.stdout.readline()
        start = str(leases.process_id(odd.pid)).split(":")[1]
        assert abs(int(start) - int(str(leases.process_id(os.getpid())).split(":")[1])) < 10**7
        assert int(start) > 1000
        odd.communicate()


def test_a_process_that_has_ended_is_none_even_before_it_is_collected() -> None:
    with process() as living:
        assert leases.process_id(living.pid) is not None
        living.kill()
        wait_for(lambda: leases.process_id(living.pid) is None)
        assert os.path.exists(f"/proc/{living.pid}")  # a zombie: its parent has not collected it yet
        living.wait()
        assert leases.process_id(living.pid) is None


def test_a_stopped_process_lives() -> None:
    with process() as living:
        living.send_signal(signal.SIGSTOP)
        assert leases.process_id(living.pid) is not None
        living.send_signal(signal.SIGCONT)


def test_this_process_gets_a_new_name_each_start() -> None:
    first, second = Worker.this_process(15), Worker.this_process(15)
    assert first.id != second.id
    assert (first.host, first.process) == (second.host, second.process) == (leases.host_id(), first.process)


# --- who is dead ------------------------------------------------------------------------------------------------------


def test_the_jobs_of_a_living_worker_stay_its_own(own: Database, sql: Queries, me: Worker) -> None:
    give_job(own, sql, me)
    give_job(own, sql, other(own))
    with process() as living:
        give_job(own, sql, local(own, living.pid))
        assert rescued(own, me) == []
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'running'") == 3
    assert len(workers(sql)) == 3


def test_a_dead_process_of_this_machine_is_known_at_once(own: Database, sql: Queries, me: Worker) -> None:
    with process() as living:
        job = give_job(own, sql, local(own, living.pid))
        living.kill()
        living.wait()
        assert rescued(own, me) == [job.id]
    assert workers(sql) == {me.id}


def test_a_zombie_process_is_dead(own: Database, sql: Queries, me: Worker) -> None:
    with process() as living:
        job = give_job(own, sql, local(own, living.pid))
        living.kill()
        wait_for(lambda: leases.process_id(living.pid) is None)
        assert rescued(own, me) == [job.id]


def test_a_recycled_pid_does_not_pass_for_the_dead(own: Database, sql: Queries, me: Worker) -> None:
    with process() as living:
        job = give_job(own, sql, other(own, leases.host_id(), f"{living.pid}:12345"))
        assert rescued(own, me) == [job.id]


def test_a_worker_elsewhere_is_dead_only_when_its_lease_has_run_out(own: Database, sql: Queries, me: Worker) -> None:
    far = other(own, process=f"{2**22 + 1}:1", lease=100)  # no such process here, which means nothing there
    job = give_job(own, sql, far)
    expire(sql, far, 50)
    assert rescued(own, me) == []
    expire(sql, far, 51)
    assert rescued(own, me) == [job.id]


def test_a_lease_is_as_long_as_its_worker_said(own: Database, sql: Queries, me: Worker) -> None:
    patient, hasty = other(own, lease=600), other(own, lease=10)
    long, short = give_job(own, sql, patient), give_job(own, sql, hasty)
    for worker in (patient, hasty):
        expire(sql, worker, 300)
    assert rescued(own, me) == [short.id]
    expire(sql, patient, 301)
    assert rescued(own, me) == [long.id]


def test_a_frozen_process_of_this_machine_is_dead_when_its_lease_has_run_out(
    own: Database, sql: Queries, me: Worker
) -> None:
    with process() as living:
        frozen = local(own, living.pid)
        job = give_job(own, sql, frozen)
        expire(sql, frozen)
        assert rescued(own, me) == [job.id]


def test_a_worker_does_not_take_its_own_jobs_for_a_dead_ones(own: Database, sql: Queries, me: Worker) -> None:
    give_job(own, sql, me)
    expire(sql, me, 100)
    assert rescued(own, me) == []


def test_a_running_job_whose_worker_nobody_knows_is_rescued(own: Database, sql: Queries, me: Worker) -> None:
    lost = other(own)
    job = give_job(own, sql, lost)
    sql("DELETE FROM tksva_q.worker WHERE id = %s", lost.id)
    assert rescued(own, me) == [job.id]
    assert sql.value("SELECT state FROM tksva_q.job") == "waiting"


# --- coming back, and leaving -----------------------------------------------------------------------------------------


def test_a_worker_that_was_given_up_is_in_the_list_again_when_it_renews(
    own: Database, sql: Queries, me: Worker
) -> None:
    slow = other(own)
    expire(sql, slow)
    assert rescued(own, me) == []
    assert workers(sql) == {me.id}
    renew(own, slow)
    assert workers(sql) == {me.id, slow.id}
    assert give_job(own, sql, slow).worker == slow.id


def test_a_worker_that_renews_at_the_last_moment_stays_in_the_list(
    own: Database, sql: Queries, me: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = other(own)
    expire(sql, slow)
    dead = leases._dead

    def look(database: Database, worker: Worker) -> list[tuple[str, str | None]]:
        found = dead(database, worker)
        renew(own, slow)
        return found

    monkeypatch.setattr(leases, "_dead", look)
    assert rescued(own, me) == []
    assert workers(sql) == {me.id, slow.id}


def test_a_renewal_says_when_the_loop_last_went_round(own: Database, sql: Queries, me: Worker) -> None:
    looked = "SELECT seen_at, loop_at, started_at FROM tksva_q.worker"
    (before,) = sql(looked)
    renew(own, me)
    (after,) = sql(looked)
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert after[2] == before[2]


def test_a_worker_leaves_the_list_when_its_jobs_are_settled(own: Database, sql: Queries, me: Worker) -> None:
    job = give_job(own, sql, me)
    with own.statement() as cursor:
        me.leave(cursor)
    assert workers(sql) == {me.id}
    settle(own, job)
    with own.statement() as cursor:
        me.leave(cursor)
    assert workers(sql) == set()


def test_marks_that_a_crash_left_are_taken_away_at_the_start(own: Database, sql: Queries, me: Worker) -> None:
    sql("UPDATE dwh_tables_info SET gives_information = true")
    assert leases.release_stale_locks(own) == [TABLE]
    assert not sql.value("SELECT gives_information FROM dwh_tables_info")
    give_job(own, sql, replace(me))
    assert leases.release_stale_locks(own) == []
    assert sql.value("SELECT gives_information FROM dwh_tables_info")


def test_whose_child_a_process_is_the_kernel_tells() -> None:
    assert leases.parent_of(os.getpid()) == os.getppid()
    assert leases.parent_of(2**22 + 1) is None  # greater than any


def test_a_rescue_that_takes_long_goes_on_the_next_time(
    own: Database, sql: Queries, me: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RESCUE_SECONDS", -1.0)
    dead = other(own)
    left = [give_job(own, sql, dead).id for _ in range(2)]
    expire(sql, dead)
    assert rescued(own, me) == left[:1]
    assert workers(sql) == {me.id, dead.id}
    assert rescued(own, me) == left[1:]
    assert rescued(own, me) == []
    assert workers(sql) == {me.id}


@pytest.mark.parametrize("table", ["post", "tksva_q.job"])
def test_a_job_whose_row_somebody_holds_is_rescued_when_it_is_free(
    own: Database, sql: Queries, me: Worker, table: str
) -> None:
    dead = other(own)
    stuck, free = [give_job(own, sql, dead) for _ in range(2)]
    expire(sql, dead)
    row = stuck.post_id if table == "post" else stuck.id
    with held(own.conninfo, f"SELECT FROM {table} WHERE id = %s FOR UPDATE", row):
        assert rescued(own, me) == [free.id]
        assert rescued(own, me) == []
        assert workers(sql) == {me.id, dead.id}
    assert rescued(own, me) == [stuck.id]
    assert workers(sql) == {me.id}
