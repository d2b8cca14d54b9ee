"""One attempt of a timer's job, in real daemons: the journal, the command, the journal again."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import attempts
import timetable
from db import Database
from integrations.timers import definitions
from tests.daemons import Daemon
from tests.database import Queries
from tests.timers.conftest import LAST_RUNS, STATISTICS, TIMER, Define
from tests.timers.processes import left
from tests.waiting import wait_for

Script = Callable[..., Path]
Start = Callable[..., Daemon]

HANG = "if os.fork() == 0: time.sleep(600)\nopen('up', 'w')\ntime.sleep(600)"


def hanging(tmp_path: Path, then: str = HANG) -> tuple[Path, str]:
    """A folder, and a script that works there."""
    work = tmp_path / "work"
    work.mkdir()
    return work, f"import os, time\nos.chdir({str(work)!r})\n{then}"


@pytest.fixture
def begin(database: str) -> Iterator[Callable[[], None]]:
    """Start the timer `one` by hand."""
    own = Database(database, "tests")
    yield lambda: timetable.start(own, definitions.load().schedule("one")) and None
    own.close()


def ends(sql: Queries) -> list[str]:
    """How the jobs of the timer `one` stand."""
    return [state for (state,) in sql("SELECT state FROM tksva_q.job WHERE schedule = 'one' ORDER BY id")]


def test_a_run_is_journaled_once_with_its_rows_and_its_real_duration(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    script("import time; time.sleep(0.3); print('{\"rows_processed\": 123}')")
    start_daemon(integrations="timers")
    begin()
    wait_for(lambda: ends(sql) == ["done"], 60)
    [(job, started, finished, rows, status, message)] = sql(LAST_RUNS)
    assert (job, rows, status, message) == ("loader", 123, "success", "")
    assert datetime.timedelta(seconds=0.3) < finished - started < datetime.timedelta(seconds=60)
    assert sql(STATISTICS) == [("loader", "success", 1, 123)]
    metrics = sql.value("SELECT metrics FROM zakaz.meta_job_runs")
    assert (metrics["exit_status"], metrics["attempt"]) == (0, 1)
    planned = json.loads(metrics["params"])["planned_at"]
    assert abs(datetime.datetime.fromisoformat(planned) - started) < datetime.timedelta(seconds=60)


def test_a_failure_is_tried_again_and_every_attempt_is_a_row(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    work, code = hanging(tmp_path, "done = os.path.exists('once'); open('once', 'w')\nif not done: raise SystemExit(3)")
    script(code, retries=3, pause=0.1)
    start_daemon(integrations="timers")
    begin()
    wait_for(lambda: ends(sql) == ["done"], 60)
    assert [row[4:] for row in sql(LAST_RUNS)] == [
        ("success", "команда не сообщила число строк"),
        ("error", "код выхода 3"),
    ]
    assert (work / "once").exists()


def test_the_companys_timers_are_tried_three_times_more_after_half_a_minute_and_longer_each_time(
    define: Define,
) -> None:
    define(TIMER)
    schedule = definitions.load().schedule("qtickets")
    assert schedule.max_attempts == 1 + 3
    pauses = [attempts.pause(spent, schedule.pause_seconds) for spent in (1, 2, 3)]
    assert 24 <= pauses[0] <= 36
    assert pauses[0] < pauses[1] < pauses[2]


def test_the_last_failure_fails_the_job_with_the_commands_last_words(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    script("print('нет связи'); raise SystemExit(3)", retries=1, pause=0.1)
    start_daemon(integrations="timers")
    begin()
    wait_for(lambda: ends(sql) == ["failed"], 60)
    assert sql.value("SELECT error FROM tksva_q.job WHERE schedule = 'one'").endswith("код выхода 3: нет связи")
    assert sql(STATISTICS) == [("loader", "error", 2, None)]


def test_the_run_of_a_daemon_that_dies_is_closed_as_error_by_a_second_one_and_run_again(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    again = "if os.path.exists('up'):\n    print('{\"rows_processed\": 5}')\n    raise SystemExit\n"
    work, code = hanging(tmp_path, again + HANG)
    script(code, retries=3, pause=0.1)
    first = start_daemon(integrations="timers", heartbeat_seconds=0.5)
    begin()
    wait_for((work / "up").exists)
    start_daemon(integrations="timers", heartbeat_seconds=0.5)
    first.kill()
    wait_for(lambda: left(work) == [], 20)
    wait_for(lambda: ends(sql) == ["done"], 60)
    last, lost = sql(LAST_RUNS)
    assert (last[3:5], lost[3:5]) == ((5, "success"), (None, "error"))
    assert lost[5].startswith("прервано: ")
    assert lost[1] < lost[2] <= last[2]


def test_a_daemon_that_is_stopped_ends_the_command_and_the_next_one_runs_it_again(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    again = "if os.path.exists('up'): raise SystemExit\n"
    work, code = hanging(tmp_path, again + HANG)
    script(code)
    daemon = start_daemon(integrations="timers")
    begin()
    wait_for((work / "up").exists)
    assert daemon.stop() == 0
    assert left(work) == []
    start_daemon(integrations="timers")
    wait_for(lambda: ends(sql) == ["done"], 60)
    assert [row[4:] for row in sql(LAST_RUNS)] == [
        ("success", "команда не сообщила число строк"),
        ("error", "очередь останавливается"),
    ]


def test_a_timer_that_is_no_longer_defined_fails_with_its_name(
    script: Script, start_daemon: Start, begin: Callable[[], None], tmp_path: Path, sql: Queries
) -> None:
    script("")
    start_daemon(integrations="timers")
    insert = "INSERT INTO tksva_q.job (form, params) VALUES ('timer', %s)"
    for params in ('{"timer": "gone"}', '{"timer": 1}', "[]"):
        sql(insert, params)
    sql("NOTIFY tksva_q")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'failed'") == 3, 60)
    unknown = "timer: не указано, какой таймер запустить"
    assert [row[0] for row in sql("SELECT error FROM tksva_q.job WHERE schedule IS NULL ORDER BY id")] == [
        "timer: нет таймера 'gone'",
        unknown,
        unknown,
    ]
