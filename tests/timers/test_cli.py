"""`manage.py timers …` and `manage_timers.sh`: the words of an administrator, and what he reads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import timetable
from db import Database
from integrations.timers import cli, definitions
from tests import ROOT
from tests.daemons import Daemon, environment
from tests.database import Queries
from tests.timers.conftest import Define, Manage, ended
from tests.waiting import wait_for

TWO = """
[timers.one]
job = "loader"
command = ["one"]
cron = "*/15 * * * *"
jitter = 60
time_limit = 300
[timers.two]
job = "other"
command = ["two"]
cron = "0 0 * * *"
time_limit = 600
enabled = false
"""
WORDS = ("install", "status", "enable", "disable", "start", "stop", "restart", "logs", "schedule", "help")
CHANGING = ("install", "enable one", "disable one", "start one", "stop one", "restart one")
#: A moment as it is printed.
MOMENT = r"\d\d\.\d\d\.\d{4} \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def two(define: Define) -> None:
    define(TWO)


def on(queue: Database) -> dict[str, bool]:
    wanted = definitions.load()
    with queue.transaction() as cursor:
        lines = timetable.listing(cursor, [wanted.schedule(name) for name in wanted.timers])
    return {line.schedule.name: line.enabled for line in lines}


def test_install_makes_the_tables_and_a_second_time_changes_nothing(manage: Manage, sql: Queries) -> None:
    for _ in range(2):
        done = manage("install")
        assert (done.code, done.out) == (0, "таймеров: 2; они начинаются с запуском очереди\n")
    assert sql("SELECT * FROM zakaz.meta_job_runs") == []


def test_install_systemd_writes_the_units_below_a_root(manage: Manage, tmp_path: Path, sql: Queries) -> None:
    done = manage("install", "--systemd", "--root", str(tmp_path / "root"))
    units = sorted(path.name for path in (tmp_path / "root/etc/systemd/system").iterdir())
    assert units == [f"tksva_q_{name}.{kind}" for name in ("one", "two") for kind in ("service", "timer")]
    assert done.code == 0
    assert all(unit in done.out for unit in units)
    assert sql.value("SELECT to_regclass('zakaz.meta_job_runs')") is None


def test_enable_and_disable_switch_the_queues_own_schedule(manage: Manage, queue: Database) -> None:
    assert on(queue) == {"one": True, "two": False}
    assert manage("disable", "one").out == "one: выключен\n"
    assert manage("enable", "two").out == "two: включён\n"
    assert on(queue) == {"one": False, "two": True}


def test_status_tells_switch_next_and_last(manage: Manage, queue: Database, sql: Queries) -> None:
    assert timetable.start(queue, definitions.load().schedule("two"))
    sql("UPDATE tksva_q.job SET state = 'failed', finished_at = now()")
    one, two = manage("status").out.splitlines()
    assert re.fullmatch(rf"one +включён +следующий {MOMENT} +последний: не запускался", one)
    assert re.fullmatch(r"two +выключен +следующий — +последний: ошибка", two)
    assert manage("status", "two").out.splitlines() == [two]


def test_start_and_stop_queue_and_cancel_a_job(manage: Manage, queue: Database, sql: Queries) -> None:
    started = manage("start", "two")
    assert (started.code, started.out) == (0, f"two: задание {sql.value('SELECT id FROM tksva_q.job')}\n")
    assert manage("start", "two").out == "two: прошлый запуск ещё идёт\n"
    assert manage("stop", "two").out == "two: остановлено заданий: 1\n"
    assert manage("stop", "two").out == "two: остановлено заданий: 0\n"
    assert sql("SELECT state FROM tksva_q.job") == [("cancelled",)]


def test_start_waits_where_it_is_told_to_and_fails_with_the_run(
    script: Callable[..., Path], start_daemon: Callable[..., Daemon], manage: Manage
) -> None:
    script("print('нет связи'); raise SystemExit(3)")
    start_daemon(integrations="timers")
    failed = manage("start", "one", "--wait")
    assert failed.code == 1
    assert failed.err.strip() == "код выхода 3: нет связи"
    script("")
    assert manage("start", "one", "--wait").code == 0
    assert manage("logs", "one").out.count(" error ") == 1


def test_restart_waits_for_the_end_of_the_run_before_it_begins_another(
    script: Callable[..., Path], start_daemon: Callable[..., Daemon], manage: Manage, tmp_path: Path, sql: Queries
) -> None:
    script(f"import time; open({str(tmp_path / 'up')!r}, 'w'); time.sleep(600)")
    start_daemon(integrations="timers")
    manage("start", "one")
    wait_for((tmp_path / "up").exists)
    done = manage("restart", "one")
    assert done.out == f"one: задание {sql.value('SELECT max(id) FROM tksva_q.job WHERE schedule = %s', 'one')}\n"
    states = sql("SELECT state FROM tksva_q.job WHERE schedule = 'one' ORDER BY id")
    assert states[0] == ("cancelled",)
    assert len(states) == 2
    manage("stop", "one")


def test_a_restart_that_nobody_hears_says_so(
    manage: Manage, queue: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "STOP_SECONDS", 0.2)
    timetable.start(queue, definitions.load().schedule("one"))
    sql("UPDATE tksva_q.job SET state = 'running', attempt = 1, worker = gen_random_uuid(), slot = 0")
    said = manage("restart", "one")
    assert (said.code, said.err) == (1, "прошлый запуск не остановился за 0.2 с; работает ли очередь?\n")


def test_logs_tell_the_last_runs_and_the_output_of_the_last(manage: Manage, queue: Database, sql: Queries) -> None:
    ended(queue, "error", "код выхода 3", timer="one")
    made = ended(queue, "success", timer="one", rows=7)
    ended(queue, "success", timer="two")
    sql("UPDATE tksva_q.timer_run SET output = 'загружено [7]' WHERE job_id = %s", made.job_id)
    last, first, output = manage("logs", "one").out.splitlines()
    assert re.fullmatch(rf"{MOMENT} success \d\.\d с строк: 7 ", last)
    assert re.fullmatch(rf"{MOMENT} error \d\.\d с строк: None код выхода 3", first)
    assert output == "загружено [7]"


def test_logs_tell_the_time_of_the_definitions_zone(
    manage: Manage, queue: Database, define: Define, sql: Queries
) -> None:
    ended(queue, "success", timer="one")
    began = sql.value(
        "SELECT to_char(started_at AT TIME ZONE 'Asia/Tokyo', 'DD.MM.YYYY HH24:MI') FROM tksva_q.timer_run"
    )
    define('zone = "Asia/Tokyo"\n' + TWO)
    assert manage("logs", "one").out.startswith(began)


def test_schedule_tells_cron_and_the_next_time(manage: Manage) -> None:
    one, two = manage("schedule").out.splitlines()
    assert re.fullmatch(r"one +\*/15 \* \* \* \* +\d\d\.\d\d\.\d{4} \d\d:(00|15|30|45) ±60 с, предел 300 с", one)
    assert re.fullmatch(r"two +0 0 \* \* \* +\d\d\.\d\d\.\d{4} 00:00 ±0 с, предел 600 с", two)


def test_check_fails_where_something_is_wrong(manage: Manage, queue: Database, define: Define) -> None:
    well = manage("check")
    assert (well.code, well.out.splitlines()[-1]) == (0, '{"rows_processed": 0}')
    define(TWO + '[[sources]]\nname = "sales"\ntable = "zakaz.nowhere"\ndate_column = "day"\n')
    wrong = manage("check")
    assert wrong.code == 1
    assert "data_freshness: error: sales: таблица не читается" in wrong.out
    told = manage("check", "--report")  # as a timer: it would journal an error beside the source's own alert
    assert (told.code, told.out) == (0, wrong.out)


def test_help_names_every_word(manage: Manage) -> None:
    said = manage("help")
    assert said.code == 0
    assert all(re.search(rf"\b{word}\b", said.out) for word in WORDS)


@pytest.mark.parametrize("words", CHANGING)
def test_without_root_nothing_is_changed(manage: Manage, sql: Queries, words: str) -> None:
    said = manage(*words.split(), user=1000)
    assert (said.code, said.out) == (1, "")
    assert said.err == "Этот скрипт должен быть запущен с правами root\n"
    assert sql("SELECT * FROM tksva_q.schedule") == []
    assert sql("SELECT * FROM tksva_q.job") == []


@pytest.mark.parametrize("words", ["status", "schedule", "logs one", "help", "check"])
@pytest.mark.usefixtures("queue")
def test_who_only_looks_need_not_be_root(manage: Manage, words: str) -> None:
    assert manage(*words.split(), user=1000).code == 0


@pytest.mark.parametrize("word", ["status", "enable", "disable", "start", "stop", "restart", "logs"])
def test_an_unknown_timer_is_named_with_the_list(manage: Manage, sql: Queries, word: str) -> None:
    said = manage(word, "чужой")
    assert (said.code, said.out, said.err) == (1, "", "Неизвестный таймер: чужой; есть: one, two\n")
    assert sql("SELECT * FROM tksva_q.schedule") == []


@pytest.mark.parametrize("word", ["status", "install", "schedule", "start one", "check"])
def test_definitions_that_make_no_sense_end_with_status_2(
    manage: Manage, define: Define, sql: Queries, word: str
) -> None:
    for text, problem in (
        ("[timers.one]", "timers.one.job: не задан\n"),
        ("[timers.one", "не TOML: "),
        (TWO.replace("0 0 * *", "0 25 * *"), "timers.two.cron: cron '0 25 * * *': Bad hour"),
    ):
        path = define(text)
        said = manage(*word.split())
        assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
        assert said.err.startswith(f"{path}: {problem}")
    assert sql.value("SELECT to_regclass('zakaz.meta_job_runs')") is None


def test_a_setting_of_the_timers_that_makes_no_sense_is_said_and_no_command_missed(
    database: str, tmp_path: Path
) -> None:
    known = environment(database, tmp_path, integrations="timers", smtp_port=70000)
    words = [sys.executable, str(ROOT / "manage.py"), "timers", "status"]
    said = subprocess.run(words, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=100, check=False)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("SMTP_PORT: ")


# --- the script -------------------------------------------------------------------------------------------------------


def script_says(database: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    known = environment(database, folder)
    known.pop("INTEGRATIONS", None)
    return subprocess.run(
        [str(ROOT / "manage_timers.sh"), *words],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.usefixtures("queue")
def test_the_script_knows_the_same_words(database: str, tmp_path: Path, manage: Manage) -> None:
    assert os.access(ROOT / "manage_timers.sh", os.X_OK)
    assert script_says(database, tmp_path, "schedule").stdout == manage("schedule").out
    said = script_says(database, tmp_path)
    assert said.returncode == 0
    assert all(re.search(rf"\b{word}\b", said.stdout) for word in WORDS)
    said = script_says(database, tmp_path, "logs", "чужой")
    assert (said.returncode, said.stderr) == (1, "Неизвестный таймер: чужой; есть: one, two\n")
