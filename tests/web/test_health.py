"""Health tells the truth, whatever is down, and never hangs."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import time
import types
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from embedded import embedded_dsn
from schema import migrate
from tests.daemons import Daemon
from tests.database import Queries
from tests.waiting import busy, wait_for
from tests.web.inside import Inside
from tests.web.own_postgres import frozen, own_server, postmaster
from tests.web.server import Web, new_job
from workloads import Workload

__all__ = ["own_server"]  # a fixture

PATHS = ("/healthz", "/healthz/detailed", "/healthz/freshness")


def statuses(client: httpx.Client) -> list[int]:
    return [client.get(path).status_code for path in PATHS]


def test_it_is_well_while_the_loop_goes_round(client: httpx.Client, start_daemon: Callable[..., Daemon]) -> None:
    assert statuses(client) == [503, 503, 503]
    daemon = start_daemon()
    wait_for(lambda: statuses(client) == [200, 200, 200], 60)
    detailed = client.get("/healthz/detailed").json()
    assert all(detailed[part]["ok"] for part in ("loop", "database", "warehouse", "oldest_waiting", "disk"))
    daemon.stop()
    wait_for(lambda: statuses(client) == [503, 503, 503], 60)
    assert "не запущена" in client.get("/healthz").json()["status"]


def test_a_frozen_loop_is_seen_within_15_s(client: httpx.Client, start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    wait_for(lambda: statuses(client) == [200, 200, 200], 60)
    os.kill(daemon.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        wait_for(lambda: client.get("/healthz").status_code == 503, busy(15))
        assert "молчит" in client.get("/healthz").json()["status"]
        assert time.monotonic() - began > 3
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    wait_for(lambda: client.get("/healthz").status_code == 200, 60)


def test_the_oldest_waiting_job_is_shown(client: httpx.Client, sql: Queries) -> None:
    sql("INSERT INTO tksva_q.job (form, queued_at) VALUES ('f', localtimestamp - interval '100 s')")
    assert client.get("/healthz/freshness").json()["oldest_waiting_seconds"] == pytest.approx(100, abs=5)
    assert "всего ждут 1" in client.get("/healthz/detailed").json()["oldest_waiting"]["text"]


def test_a_frozen_warehouse_is_shown_and_hangs_nothing(
    start_web: Callable[..., Web], start_daemon: Callable[..., Daemon]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        web = start_web(dwh_url=f"postgresql://a:b@127.0.0.1:{silent.getsockname()[1]}/dwh")
        start_daemon()
        with web.client() as client:
            wait_for(lambda: client.get("/healthz").status_code == 200, 60)
            for _ in range(3):
                began = time.monotonic()
                answer = client.get("/healthz/detailed")
                assert time.monotonic() - began < busy(5)
                assert answer.status_code == 200
                assert not answer.json()["warehouse"]["ok"]
            assert client.get("/healthz/detailed").json()["warehouse"]["text"].startswith("не отвечает")


def test_the_database_may_stop_and_start_again(own_server: tuple[str, Path], tmp_path: Path) -> None:
    conninfo, folder = own_server
    with ExitStack() as after:
        web = Web(conninfo, tmp_path)
        after.callback(web.stop)
        after.callback(Daemon(conninfo, tmp_path).kill)
        web.await_answer()
        client = after.enter_context(web.client())
        wait_for(lambda: statuses(client) == [200, 200, 200], 60)
        postmaster(folder).send_signal(signal.SIGINT)
        wait_for(lambda: statuses(client) == [503, 503, 503], 60)
        assert client.get("/healthz").json()["status"].startswith("база данных")
        assert client.get("/", headers={"Accept": "text/html"}).status_code == 503
        wait_for(lambda: not (folder / "postgres" / "postmaster.pid").exists(), 60)
        embedded_dsn(folder)
        wait_for(lambda: statuses(client) == [200, 200, 200], 60)
        assert client.get("/").status_code == 200
        assert web.process.poll() is None


def test_the_database_may_hang_and_come_back(own_server: tuple[str, Path], tmp_path: Path) -> None:
    conninfo, folder = own_server
    with ExitStack() as after:
        web = Web(conninfo, tmp_path)
        after.callback(web.stop)
        after.callback(Daemon(conninfo, tmp_path).kill)
        web.await_answer()
        client = after.enter_context(web.client())
        wait_for(lambda: client.get("/healthz").status_code == 200, 60)
        with frozen(folder):
            began = time.monotonic()
            wait_for(lambda: statuses(client) == [503, 503, 503], 60)
            assert time.monotonic() - began < busy(6.5)  # 5 s, and the three answers themselves
            for path in (*PATHS, "/", "/metrics", "/api/jobs"):
                asked = time.monotonic()
                assert client.get(path).status_code == 503
                assert time.monotonic() - asked < busy(5)
        wait_for(lambda: statuses(client) == [200, 200, 200], 60)
        assert client.get("/").status_code == 200
        assert web.process.poll() is None


def test_the_web_process_starts_without_a_database_and_finds_it_later(
    database: str, tmp_path: Path, sql: Queries
) -> None:
    name = sql.value("SELECT current_database()")
    web = Web(f"host=127.0.0.1 port=1 dbname={name} user=postgres password=x", tmp_path)
    try:
        web.await_answer()
        with web.client() as client:
            began = time.monotonic()
            assert statuses(client) == [503, 503, 503]
            assert time.monotonic() - began < busy(5)
            page = client.get("/", headers={"Accept": "text/html"})
            assert page.status_code == 503
            assert "База данных недоступна" in page.text
            assert client.post("/api/jobs", json=new_job()).status_code == 503
    finally:
        web.stop()


def test_before_the_queue_has_made_its_tables_it_is_not_well(empty_database: str, tmp_path: Path) -> None:
    web = Web(empty_database, tmp_path)
    try:
        web.await_answer()
        with web.client() as client:
            assert statuses(client) == [503, 503, 503]
            migrate(empty_database)
            wait_for(lambda: "цикл" in client.get("/healthz").json()["status"], 60)
            assert client.get("/").status_code == 200
    finally:
        web.stop()


# --- a workload that is not well --------------------------------------------------------------------------------------


def test_a_workload_whose_settings_make_no_sense_is_unknown_and_hides_nothing_else(
    start_web: Callable[..., Web], start_daemon: Callable[..., Daemon], database: str, tmp_path: Path
) -> None:
    migrate(database, workloads=["timers"])
    file = tmp_path / "schedules.toml"
    file.touch()
    web = start_web(integrations="timers", schedules_file=file)
    start_daemon()
    with web.client() as client:
        wait_for(lambda: client.get("/healthz").status_code == 200, 60)
        for path in ("/healthz/detailed", "/healthz/freshness"):
            file.write_text("[timers]\n")
            assert "timers" not in client.get(path).json()["checks"]
            file.write_text("[[[")
            answer = client.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "timers: неизвестно")
            assert answer.json()["checks"]["database"]["status"] == "ok"
        assert client.get("/healthz").status_code == 200
    wait_for(lambda: any(" health_unknown " in line for line in web.lines), 60)


def test_a_workload_with_an_error_of_its_own_is_unknown(inside: Inside) -> None:
    broken = Workload("broken", types.ModuleType("broken"))
    for part in ("health", "sources"):
        setattr(broken.module, part, lambda cursor: cursor.nonsense)
    inside.app.state.context = dataclasses.replace(inside.context, workloads=(broken,))
    for path in ("/healthz/detailed", "/healthz/freshness"):
        answer = inside.get(path)
        assert answer.status_code == 503
        assert answer.json()["checks"]["broken"] == {"status": "error", "text": "неизвестно"}
