"""A worker's loop, seen from outside: its lease, its children's deaths, its end, and a database that goes away."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psutil

from tests.daemons import PREPARED, SLOW, Daemon, Start, children_of, job_state, submit
from tests.database import Queries, held, locked, server_cursor
from tests.folders import for_servers
from tests.waiting import BUSY, PATIENCE, wait_for
from worker_loop import DRAIN_SECONDS

# --- children that die ------------------------------------------------------------------------------------------------


def test_children_end_with_a_daemon_that_is_killed(start_daemon: Start, sql: Queries, database: str) -> None:
    daemon = start_daemon(integrations="testing", workers=2)
    job = submit(database, "endless")
    wait_for(lambda: job_state(sql, job)[0] == "running")
    family = psutil.Process(daemon.pid).children(recursive=True)
    assert len(children_of(daemon)) == 2
    daemon.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_a_killed_child_costs_an_attempt_and_its_signal_is_named(
    start_daemon: Start, sql: Queries, database: str
) -> None:
    daemon = start_daemon(integrations="testing", max_attempts=2)
    job = submit(database, "endless")
    wait_for(lambda: job_state(sql, job)[0] == "running")
    daemon.await_line("started")
    children_of(daemon)[0].kill()
    wait_for(lambda: job_state(sql, job)[0] == "waiting")
    assert "killed by signal 9" in str(job_state(sql, job)[1])
    assert sql.value("SELECT run_at > now() + interval '2 s' FROM tksva_q.job")
    assert sql.value("SELECT spent FROM tksva_q.job") == 1


def test_a_job_that_kills_its_child_each_time_fails_for_good(start_daemon: Start, sql: Queries, database: str) -> None:
    start_daemon(integrations="testing", max_attempts=3)
    job = submit(database, "suicide")
    for attempt in (1, 2):
        wait_for(lambda n=attempt: sql("SELECT state, attempt FROM tksva_q.job") == [("waiting", n)])
        sql("UPDATE tksva_q.job SET run_at = now()")
    wait_for(lambda: job_state(sql, job)[0] == "failed")
    assert sql.value("SELECT count(*) FROM tksva_q.attempt") == 3


def test_a_time_limit_ends_an_attempt(start_daemon: Start, sql: Queries, database: str) -> None:
    start_daemon(integrations="testing", max_attempts=1)
    job = submit(database, "sleepy")
    wait_for(lambda: job_state(sql, job)[0] == "failed")
    assert job_state(sql, job)[1] == "the time limit of 1 s has passed"


def test_the_loop_goes_on_while_somebody_holds_the_row_of_a_job_whose_child_died(
    start_daemon: Start, sql: Queries
) -> None:
    sql(SLOW)
    daemon = start_daemon(chunk_size=100)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено [1-9].*")
    with held(sql.conninfo, "SELECT FROM post WHERE id = %s FOR UPDATE", post):
        children_of(daemon)[0].kill()
        sql.await_status(sql.post("b.csv"), PREPARED)
        assert sql("SELECT state, attempt FROM tksva_q.job WHERE post_id = %s", post) == [("running", 1)]
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job WHERE post_id = %s", post) == "waiting")
    assert "killed by signal 9" in sql.value("SELECT reason FROM tksva_q.attempt WHERE outcome = 'retry'")
    sql("UPDATE tksva_q.job SET run_at = now() WHERE state = 'waiting'")
    sql.await_status(post, PREPARED)
    assert "database_away" not in daemon.log


# --- the end ----------------------------------------------------------------------------------------------------------


def test_sigterm_gives_running_jobs_back_with_their_place(start_daemon: Start, sql: Queries) -> None:
    sql(SLOW)
    daemon = start_daemon(chunk_size=100)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено [2-5]00 из 1000")
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < DRAIN_SECONDS
    assert sql.status(post) == "в очереди"
    assert sql("SELECT state, spent, cursor IS NOT NULL, rows >= 200 FROM tksva_q.job") == [("waiting", 0, True, True)]
    assert not locked(sql)
    assert sql.value("SELECT count(*) FROM tksva_q.worker") == 0


def test_a_second_sigterm_ends_at_once(start_daemon: Start, sql: Queries, database: str) -> None:
    daemon = start_daemon(integrations="testing")
    job = submit(database, "endless")
    wait_for(lambda: job_state(sql, job)[0] == "running")
    os.kill(daemon.pid, signal.SIGTERM)
    daemon.await_line("stopping")
    assert daemon.process.poll() is None
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < 3 * BUSY < DRAIN_SECONDS
    assert job_state(sql, job)[0] == "waiting"


# --- the database -----------------------------------------------------------------------------------------------------


def test_the_database_may_go_and_come_back(start_daemon: Start, sql: Queries, database: str, postgres: str) -> None:
    daemon = start_daemon()
    own = sql.value("SELECT current_database()")
    with server_cursor(postgres) as cursor:
        cursor.execute(f'ALTER DATABASE "{own}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q%'")
        daemon.await_line("database_away")
        cursor.execute("SHOW data_directory")
        log = Path(cursor.fetchall()[0][0], "server.log")
        refused = f'"{own}" is not currently accepting connections'
        wait_for(lambda: log.read_text(errors="replace").count(refused) > 3)
        cursor.execute(f'ALTER DATABASE "{own}" ALLOW_CONNECTIONS true')
    sql.await_status(sql.post("a.csv"), PREPARED)
    assert len([line for line in daemon.lines if "database_away" in line]) == 1
    daemon.await_line("database_back")


def test_an_embedded_server_that_died_is_started_again() -> None:
    folder = for_servers()
    daemon = Daemon("", folder)
    try:
        daemon.await_line(" started ")
        os.kill(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        daemon.await_line("database_away")
        daemon.await_line("database_back")
        assert daemon.stop() == 0
    finally:
        if daemon.process.poll() is None:
            daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_right_that_is_taken_away_during_a_drain_does_not_end_it(
    start_daemon: Start, sql: Queries, database: str
) -> None:
    daemon = start_daemon(integrations="testing")
    job = submit(database, "patient")
    wait_for(lambda: job_state(sql, job)[0] == "running", 60)
    os.kill(daemon.pid, signal.SIGTERM)
    daemon.await_line("stopping", 60)
    sql(
        "CREATE SEQUENCE refused;"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  PERFORM nextval('refused'); RAISE insufficient_privilege; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON tksva_q.worker FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    wait_for(lambda: sql.value("SELECT is_called FROM refused"), 60)
    sql("UPDATE tksva_q.job SET params = '{\"go\": true}'")
    assert daemon.process.wait(60) == 0
    daemon._gone()
    assert job_state(sql, job)[0] == "done"
