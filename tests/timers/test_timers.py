"""The timers as a whole: the daemon runs them, the journal has them, the page and the command line show them."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import timetable
from db import Database
from errors import SettingsError
from integrations.timers import alerts, checks, definitions, watch
from tests.conftest import ROOT, Daemon, Queries, environment, wait_for
from tests.timers.test_command import left
from tests.web.conftest import start_web  # noqa: F401 -- a fixture
from tests.web.server import Web

LAST_RUNS = (
    "SELECT job, started_at, finished_at, rows_processed, status, message FROM zakaz.meta_job_runs"
    " ORDER BY started_at DESC LIMIT 20"
)
STATISTICS = (
    "SELECT job, status, count(*) AS runs, avg(rows_processed) AS average FROM zakaz.meta_job_runs"
    " GROUP BY job, status ORDER BY job, status"
)


def table(define: Callable[[str], Path], code: str, tmp_path: Path, limit: int = 60) -> Path:
    script = tmp_path / "loader.py"
    script.write_text(code, encoding="utf-8")
    return define(
        f'retries = 0\n[timers.one]\njob = "loader"\ncommand = ["{sys.executable}", "{script}"]\n'
        f'cron = "0 0 1 1 *"\ntime_limit = {limit}\n'
    )


def manage(conninfo: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    known = environment(conninfo, folder, integrations="timers")
    return subprocess.run(  # noqa: PLW1510 -- the tests look at its status
        [sys.executable, str(ROOT / "manage.py"), "timers", *words],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
    )


def test_a_run_is_journaled_once_with_its_rows_and_shown(  # noqa: PLR0913, PLR0917 -- fixtures
    define: Callable[[str], Path],
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],  # noqa: F811
    database: str,
    tmp_path: Path,
    sql: Queries,
) -> None:
    table(define, "print('<b>загружено</b>'); print('{\"rows_processed\": 123}')", tmp_path)
    start_daemon(integrations="timers")
    assert manage(database, tmp_path, "start", "one").returncode == 0
    wait_for(lambda: sql("SELECT 1 FROM zakaz.meta_job_runs WHERE status = 'success'"))
    [(job, started, finished, rows, status, _)] = sql(LAST_RUNS)
    assert (job, rows, status) == ("loader", 123, "success")
    assert datetime.timedelta() < finished - started < datetime.timedelta(seconds=30)
    assert [row[:3] for row in sql(STATISTICS)] == [("loader", "success", 1)]
    assert "загружено" in manage(database, tmp_path, "logs", "one").stdout
    assert "включён" in manage(database, tmp_path, "status", "one").stdout
    with start_web(integrations="timers").client() as client:
        page = client.get("/timers", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "&lt;b&gt;загружено" in page.text
        assert "<rect" in page.text
        assert client.get("/api/timers/runs").json()[0]["rows"] == 123


def test_a_daemon_that_dies_takes_the_command_with_it_and_the_run_is_closed_as_error(
    define: Callable[[str], Path], start_daemon: Callable[..., Daemon], database: str, tmp_path: Path, sql: Queries
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    begin = f"import os, time\nos.chdir({str(work)!r})\n"
    code = begin + "if os.fork() == 0: time.sleep(600)\nopen('up', 'w')\ntime.sleep(600)"
    table(define, code, tmp_path)
    daemon = start_daemon(integrations="timers", heartbeat_seconds=0.5)
    manage(database, tmp_path, "start", "one")
    wait_for((work / "up").exists)
    daemon.kill()
    wait_for(lambda: left(work) == [], 10)
    queue = Database(database, "tests")
    sql("UPDATE tksva_q.job SET state = 'failed', worker = NULL, slot = NULL, finished_at = now()")
    for _ in range(2):
        watch.look(queue)
    queue.close()
    [(_, started, finished, rows, status, message)] = sql(LAST_RUNS)
    assert (rows, status) == (None, "error")
    assert message.startswith("прервано: ")
    assert finished > started


def test_an_unknown_timer_is_named_with_the_list(define: Callable[[str], Path], tables: str, tmp_path: Path) -> None:
    table(define, "", tmp_path)
    said = manage(tables, tmp_path, "start", "чужой")
    assert said.returncode == 1
    assert "Неизвестный таймер: чужой" in said.stderr
    assert "one" in said.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_nothing_is_changed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nsys.path.insert(0, sys.argv[1])\nfrom integrations.timers import cli\n"
        "from errors import QueueError\nos.geteuid = lambda: 1000\n"
        "try: cli.enable('qtickets')\nexcept QueueError as error: print(error)"
    )
    words = [sys.executable, "-c", code, str(ROOT)]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "Этот скрипт должен быть запущен с правами root"


def test_the_definitions_are_those_of_the_company() -> None:
    wanted = definitions.load(ROOT / "schedules.toml")
    assert {
        name: (one.job, one.cron, one.jitter, one.time_limit, one.enabled) for name, one in wanted.timers.items()
    } == {
        "qtickets": ("qtickets_loader", "*/15 * * * *", 60, 300, True),
        "vk_ads": ("vk_ads_loader", "0 0 * * *", 300, 600, True),
        "direct": ("direct_loader", "10 0 * * *", 300, 600, True),
        "gmail": ("gmail_loader", "0 0,4,8,12,16,20 * * *", 300, 300, False),
        "alerts": ("alerts", "0 */2 * * *", 300, 300, True),
    }
    one = wanted.schedule("qtickets")
    assert (one.zone, one.missed, one.overlap, one.max_attempts, one.pause_seconds) == (
        "Europe/Moscow",
        "once",
        "skip",
        4,
        30,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "timers: не задан"),
        ("zone = 'Mars'\n[timers]", "zone: нет такого часового пояса"),
        ("[timers.a]\njob = 'a'", "timers.a.command: не задан"),
        ("[timers.a]\njob = 'a'\ncommand = []\ncron = '* * * * *'\ntime_limit = 1", "timers.a.command: пусто"),
        ("[", "не TOML"),
    ],
)
def test_definitions_that_make_no_sense_are_one_line(define: Callable[[str], Path], text: str, problem: str) -> None:
    path = define(text)
    with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}: {re.escape(problem)}.*$"):
        definitions.load()


def test_a_timer_is_late_by_its_own_period(define: Callable[[str], Path], queue: Database, sql: Queries) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\njitter = 60\n')
    now = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
    sql("INSERT INTO zakaz.meta_job_runs VALUES ('a', %s, %s, 1, 'success')", now, now)
    sql("INSERT INTO tksva_q.timer_run VALUES (1, 1, 'a', 'a', %s)", now)
    sql("INSERT INTO tksva_q.timer_seen VALUES ('a', %s)", now - datetime.timedelta(days=1))
    for minutes, status in ((31, "ok"), (33, "error")):
        with queue.transaction() as cursor:
            found = checks.checks(cursor, now + datetime.timedelta(minutes=minutes))
        assert found["job_runs"].status == status


def test_stale_data_make_the_health_bad_and_are_listed(
    define: Callable[[str], Path],
    start_daemon: Callable[..., Daemon],
    start_web: Callable[..., Web],  # noqa: F811
    tmp_path: Path,
    sql: Queries,
) -> None:
    path = table(define, "", tmp_path)
    with path.open("a", encoding="utf-8") as more:
        more.write('[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n')
    start_daemon(integrations="timers")
    sql("CREATE TABLE zakaz.sales (day date)")
    with start_web(integrations="timers").client() as client:
        wait_for(lambda: client.get("/healthz").status_code == 200)
        assert set(client.get("/healthz").json()) >= {"status", "timestamp", "checks"}
        for day, code, status in ((None, 503, "error"), (2, 200, "warning"), (0, 200, "ok")):
            if day is not None:
                sql("INSERT INTO zakaz.sales VALUES ((now() AT TIME ZONE 'Europe/Moscow')::date - %s)", day)
            fresh, detailed = client.get("/healthz/freshness"), client.get("/healthz/detailed")
            assert (fresh.status_code, detailed.status_code) == (code, code)
            [source] = fresh.json()["data"]
            assert (source["source"], source["status"], source["days_behind"]) == ("sales", status, day)
            checks = detailed.json()["checks"]
            assert set(checks) >= {"database", "clickhouse", "data_freshness", "job_runs"}
            assert checks["data_freshness"]["status"] == status


def test_a_silent_timer_is_an_alert_that_closes_when_it_runs_again(
    define: Callable[[str], Path], queue: Database, sql: Queries
) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\n')
    start = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)

    def titles(minutes: int) -> list[str]:
        watch.look(queue, start + datetime.timedelta(minutes=minutes))
        with queue.transaction() as cursor:
            return [alert.title for alert in alerts.open_alerts(cursor)]

    assert [titles(0), titles(30), titles(31)] == [[], [], ["Таймер a молчит"]]
    ran = start + datetime.timedelta(minutes=32)
    sql("INSERT INTO zakaz.meta_job_runs VALUES ('a', %s, %s, 1, 'success')", ran, ran)
    sql("INSERT INTO tksva_q.timer_run VALUES (1, 1, 'a', 'a', %s)", ran)
    assert titles(33) == []


def test_a_timer_that_was_off_is_not_late_when_it_comes_back(define: Callable[[str], Path], queue: Database) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "*/15 * * * *"\ntime_limit = 1\n')
    schedule = definitions.load().schedule("a")
    start = datetime.datetime(2026, 1, 10, 9, tzinfo=datetime.UTC)
    for minutes, switch in ((0, timetable.disable), (60, timetable.enable), (120, timetable.enable)):
        watch.look(queue, start + datetime.timedelta(minutes=minutes))
        with queue.transaction() as cursor:
            assert checks.late(cursor, definitions.load(), start + datetime.timedelta(minutes=minutes)) == []
            switch(cursor, schedule)
