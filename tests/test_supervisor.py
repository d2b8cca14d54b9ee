"""Services beside a real daemon: started, started again, stopped with it, and seen by the web process."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import services
from db import Database
from leases import Worker
from services import Service
from supervisor import PAUSE_SECONDS, Supervisor
from tests import ROOT
from tests.daemons import Daemon, make_settings
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.conftest import start_web
from tests.web.server import Web

__all__ = ["start_web"]

ON = {"integrations": "serving"}
Start = Callable[..., Daemon]


@pytest.fixture
def order(sql: Queries) -> Callable[[str, str], None]:
    """Tell a service what to do."""
    sql("CREATE TABLE order_for (service text PRIMARY KEY, word text)")

    def give(service: str, word: str) -> None:
        sql(
            "INSERT INTO order_for VALUES (%s, %s) ON CONFLICT (service) DO UPDATE SET word = excluded.word",
            service,
            word,
        )

    return give


def process(sql: Queries, service: str) -> int:
    """The process of a service that lives."""
    return int(
        wait_for(
            lambda: (sql("SELECT process FROM tksva_q.service_instance WHERE name = %s", service) or [(None,)])[0][0]
        )
    )


def reason(sql: Queries, service: str, restarts: int) -> str:
    """Why a service died the last time, when it has been started again so often."""
    query = "SELECT reason FROM tksva_q.service WHERE name = %s AND restarts >= %s"
    return str(wait_for(lambda: sql(query, service, restarts))[0][0])


@pytest.mark.usefixtures("order")
def test_a_service_that_was_killed_is_started_again_and_everybody_sees_it(
    start_daemon: Start, sql: Queries, start_web: Callable[..., Web]
) -> None:
    daemon = start_daemon(**ON)
    first, cook = process(sql, "waiter"), process(sql, "cook")
    with start_web(**ON).client() as client:
        checks = wait_for(lambda: (answer := client.get("/healthz/detailed")).is_success and answer.json()["checks"])
        assert checks["waiter"]["status"] == "ok"
        assert 'tksva_q_service_up{service="waiter"} 1.0' in client.get("/metrics").text
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: (found := process(sql, "waiter")) != first and found)
        seen = client.get("/healthz/detailed").json()["checks"]["waiter"]
        assert seen["status"] == "warning"
        assert re.fullmatch(r"перезапусков 1, последний \d+ с назад: killed by signal 9 \(SIGKILL\)", seen["text"])
        text = client.get("/metrics").text
        assert 'tksva_q_service_restarts_total{service="waiter"} 1.0' in text
        assert 'tksva_q_service_restarts_total{service="cook"} 0.0' in text
        assert process(sql, "cook") == cook
        assert daemon.stop() == 0
        assert not psutil.pid_exists(second)
        assert not psutil.pid_exists(cook)
        gone = wait_for(lambda: client.get("/healthz/detailed").json()["checks"].get("waiter"))
        assert gone == {"status": "error", "text": "не запущена"}
        assert 'tksva_q_service_up{service="waiter"} 0.0' in client.get("/metrics").text


def test_why_a_service_ended_is_told_and_the_pauses_grow(
    start_daemon: Start, sql: Queries, order: Callable[[str, str], None]
) -> None:
    order("waiter", "fail")
    order("cook", "leave")
    daemon = start_daemon(**ON)
    assert reason(sql, "waiter", 3) == "nothing to serve"
    assert reason(sql, "cook", 1) == "its process ended with status 3"
    order("cook", "end")
    wait_for(lambda: "status 0" in reason(sql, "cook", 2))
    pauses = [float(found) for found in re.findall(r"service_died.*service=waiter.*pause=([\d.]+)", daemon.log)]
    assert pauses[:2] == [0.5, 1.0]
    assert daemon.stop() == 0


def test_a_service_that_is_in_trouble_lives_and_says_so(
    start_daemon: Start, sql: Queries, order: Callable[[str, str], None], start_web: Callable[..., Web]
) -> None:
    order("cook", "trouble")
    start_daemon(**ON)
    process(sql, "cook")
    with start_web(**ON).client() as client:

        def shown() -> object:
            return client.get("/healthz/detailed").json()["checks"].get("cook")

        wait_for(lambda: shown() == {"status": "warning", "text": "нет связи"}, complaint=lambda: str(shown()))
        assert 'tksva_q_service_up{service="cook"} 1.0' in client.get("/metrics").text


def test_services_do_not_outlive_a_daemon_that_was_killed_and_jobs_go_on_beside_them(
    start_daemon: Start, sql: Queries, order: Callable[[str, str], None]
) -> None:
    order("cook", "stubborn")  # never looks up again
    daemon = start_daemon(**ON)
    pids = [process(sql, name) for name in ("waiter", "cook")]
    post = sql.post("рядом.csv")
    sql.await_status(post, "файл подготовлен")
    daemon.kill()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_service_that_gives_no_sign_of_life_is_ended_and_started_again(
    database: str,
    sql: Queries,
    order: Callable[[str, str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    order("cook", "stubborn")
    cook = Service("cook", lambda _: None, silent_seconds=3.0)  # what it runs, its own process looks up
    own = Database(database, "test")
    me = Worker.this_process(600)
    with own.statement() as cursor:
        me.renew(cursor)
    crew = Supervisor(make_settings(database, tmp_path, integrations="serving"), database, me.id, {"cook": cook})

    def died() -> bool:
        crew.watch()
        crew.record(own)
        return bool(sql("SELECT 1 FROM tksva_q.service WHERE reason = 'no sign of life for 3 s'"))

    try:
        wait_for(died, complaint=lambda: str(sql("SELECT * FROM tksva_q.service")))
    finally:
        crew.close()
        own.close()


def test_a_service_that_has_died_all_night_is_started_again_after_the_longest_pause(
    database: str, order: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    order("cook", "leave")
    crew = Supervisor(
        make_settings(database, tmp_path, integrations="serving"),
        database,
        Worker.this_process(600).id,
        {"cook": Service("cook", lambda _: None)},
    )
    (place,) = crew._places
    place.deaths = 2000

    def died() -> bool:
        crew.watch()
        return bool(crew._deaths)

    try:
        wait_for(died, 60)
        assert 5 < place.due - time.monotonic() <= PAUSE_SECONDS[1]
    finally:
        crew.close()


def test_the_limits_fit_together() -> None:
    assert services.DEAD_SECONDS < 15
    assert services.SIGN_SECONDS * 3 < services.DEAD_SECONDS < services.SILENT_SECONDS
