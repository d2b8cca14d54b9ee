"""The command line: what it changes, what it refuses, how it exits."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
import typer

import db
import manage
import schema
from tests import ROOT
from tests.command_line import PREPARED, SUBMIT, WORDS, Run, refused, run, set_environment
from tests.daemons import Daemon, environment
from tests.database import TABLE, Queries
from tests.waiting import wait_for

__all__ = ["run"]  # a fixture


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_submitted_job_becomes_a_complete_file(run: Run, start_daemon: Callable[..., Daemon], sql: Queries) -> None:
    daemon = start_daemon()
    done = run(*SUBMIT, *WORDS)
    assert (done.code, done.out) == (0, "задание 1 в очереди\n")
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job") == "done")
    assert len(daemon.file("отчёт (1) [x].csv").read_text("utf-8-sig").splitlines()) == 1001
    assert sql("SELECT user_id, dwh_table, priority FROM tksva_q.job") == [(1, TABLE, 5)]


def test_submit_tells_programs_the_number(run: Run) -> None:
    assert run(*SUBMIT, *WORDS, "--json", "--priority", "10").json == {"id": 1}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("submit", "Nonsense", "--user", "1", "--file", "a.csv"), "нет обработки"),
        (("submit", "__import__", "--user", "1", "--file", "a.csv"), "нет обработки"),
        ((*SUBMIT, "station_name=Тайшет"), "нет поля start_date"),
        ((*SUBMIT, "station_name=", "start_date=2024-01-01", "finish_date=2024-01-02"), "station_name: пусто"),
        ((*SUBMIT, *WORDS[:2], "finish_date=31.12.2024"), "finish_date"),
        (("submit", "DownloadForStationForm", "--user", "1", "--file", "../a.csv", *WORDS), "разделитель"),
        (("submit", "DownloadForStationForm", "--user", "1", "--file", "a.pdf", *WORDS), "расширение"),
        (("submit", "DownloadForStationForm", "--file", "a.csv", *WORDS), "user_id"),
        (("submit", "DownloadForStationForm", "--user", "1", *WORDS), "нет имени файла"),
    ],
)
def test_what_cannot_become_a_job_is_refused_in_one_line(
    run: Run, sql: Queries, words: tuple[str, ...], complaint: str
) -> None:
    refused(run(*words), 1, complaint)
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("jobs", "--nonsense"),
        ("jobs", "--state", "nonsense"),
        ("jobs", "--user", "nobody"),
        ("show",),
        ("show", "0"),
        ("show", "99999999999999999999"),
        ("cancel", "one"),
        ("retry",),
        ("retry", "1", "--failed"),
        ("migrate", "sideways"),
        (*SUBMIT, "no sign"),
        (*SUBMIT, "=value"),
        (*SUBMIT, "a=1", "a=2"),
        ("submit", "DownloadForStationForm", "--user", "-1"),
    ],
)
def test_wrong_words_exit_with_2(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_wrong_settings_exit_with_2_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHUNK_SIZE", "-1")
    refused(run("status"), 2, "CHUNK_SIZE")


def test_a_database_that_is_away_exits_with_1_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSQL_HOST", "/nonexistent")
    refused(run("status"), 1, "No such file")


def test_a_schema_that_is_not_this_codes_is_named_with_what_to_do(run: Run, sql: Queries) -> None:
    sql("UPDATE tksva_q.alembic_version SET version_num = '0001'")
    refused(run("status"), 1, "migrate up")
    sql("UPDATE tksva_q.alembic_version SET version_num = '9999'")
    refused(run("status"), 1, "обновите код")


def test_the_installation_is_found_from_any_folder(
    run: Run, monkeypatch: pytest.MonkeyPatch, database: str, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / ".env").write_text("CHUNK_SIZE=nonsense\n", encoding="utf-8")
    monkeypatch.setattr(db, "HERE", home)
    monkeypatch.chdir(elsewhere)
    refused(run("status"), 2, "CHUNK_SIZE")


def test_a_job_that_is_not_there_cannot_be_shown_cancelled_or_retried(run: Run) -> None:
    for words in (("show", "7"), ("cancel", "7"), ("retry", "7")):
        refused(run(*words), 1, "задания 7 нет")


# --- cancel, retry, purge ---------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_with_what_it_has_prepared(run: Run, sql: Queries, tmp_path: Path) -> None:
    run(*SUBMIT, *WORDS)
    sql("UPDATE tksva_q.job SET attempt = 1")
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    for name in (".tksva_q-1-1.part", ".tksva_q-2-1.part", "other.csv"):
        (folder / name).touch()
    assert run("cancel", "1").out == "задание 1 отменено\n"
    assert sorted(path.name for path in folder.iterdir()) == [".tksva_q-2-1.part", "other.csv"]
    refused(run("cancel", "1"), 1, "отменено")


def test_a_running_job_is_stopped_whatever_it_waits_for(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries, database: str
) -> None:
    daemon = start_daemon(CHUNK_SIZE=1)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено .*")
    with psycopg2.connect(database) as holder, holder.cursor() as cursor:  # the next page is never answered
        cursor.execute("LOCK TABLE audit._sales__execution_orders IN ACCESS EXCLUSIVE MODE")
        assert run("cancel", "1").out == "задание 1 останавливается\n"
        wait_for(lambda: sql.value("SELECT state FROM tksva_q.job") == "cancelled")
    holder.close()
    wait_for(lambda: not list(daemon.file("a.csv").parent.iterdir()))  # what was prepared goes after the job has ended


def test_a_failed_job_is_retried_and_all_of_them_are(run: Run, sql: Queries) -> None:
    run(*SUBMIT, *WORDS)
    sql("INSERT INTO tksva_q.job (form) VALUES ('A'), ('B')")
    sql("UPDATE tksva_q.job SET state = 'failed', finished_at = now()")
    assert run("cancel", "1").err == "задание 1: отменять нечего, его состояние — ошибка\n"
    assert run("retry", "1").out == "снова в очереди: 1\n"
    refused(run("retry", "1"), 1, "в очереди")
    assert run("retry", "--failed", "--json").json == [2, 3]
    assert run("retry", "--failed").out == "снова в очереди: 0\n"


def test_a_job_that_the_inbox_had_refused_is_retried_under_the_tables_lock(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    """The code may have learned since then what it had refused."""
    run(*SUBMIT, *WORDS)
    sql("UPDATE tksva_q.job SET state = 'failed', finished_at = now(), dwh_table = NULL")
    sql("INSERT INTO tksva_q.job (form, state, finished_at) VALUES ('Nonsense', 'failed', now())")
    assert run("retry", "--failed", "--json").json == [1, 2]
    assert sql("SELECT dwh_table FROM tksva_q.job ORDER BY id") == [(TABLE,), (None,)]


def test_purge_deletes_what_has_expired_now(run: Run, sql: Queries, tmp_path: Path) -> None:
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    for name, hours in (("old.csv", 73), ("new.csv", 71)):
        (folder / name).write_text("five!")
        sql(
            "INSERT INTO post (user_id, task_status, file_to_download, task_status_timestamp)"
            f" VALUES (1, '{PREPARED}', '{name}', localtimestamp - interval '{hours} h')"
        )
    assert re.search(r"old\.csv: 5\nудалено файлов: 1\n$", run("purge").out)
    assert [path.name for path in folder.iterdir()] == ["new.csv"]
    assert run("purge", "--json").json == []


# --- migrate ----------------------------------------------------------------------------------------------------------


def test_the_schema_comes_and_goes(
    empty_database: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_environment(monkeypatch, environment(empty_database, tmp_path))
    head = schema.head()
    assert run("migrate", "current").out == f"схема tksva_q: не создана, в коде {head}\n"
    assert run("migrate", "up").out == run("migrate").out == f"схема tksva_q: {head}, в коде {head}\n"
    assert run("status").code == 0
    assert run("migrate", "down").out == f"схема tksva_q: не создана, в коде {head}\n"
    queries = Queries(empty_database)
    assert queries("SELECT to_regclass('post') IS NOT NULL, to_regnamespace('tksva_q') IS NULL") == [(True, True)]
    queries.close()


def test_the_schema_is_not_taken_away_under_a_running_queue(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon = start_daemon()
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.worker"))
    refused(run("migrate", "down"), 1, "очередь работает")
    daemon.stop()
    assert run("migrate", "down").code == 0


def test_a_workload_that_is_on_brings_its_commands(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("integrations.sample")
    commands = typer.Typer()
    module.commands = lambda: commands  # type: ignore[attr-defined]

    @commands.command()
    def hello() -> None:
        print("hello")

    @commands.command()
    def bye() -> None:
        print("bye")

    monkeypatch.setitem(sys.modules, "integrations.sample", module)
    monkeypatch.setattr(manage.app, "registered_groups", [])
    assert run("sample", "hello").code == 2
    monkeypatch.setenv("INTEGRATIONS", "sample")
    assert run("sample", "hello").out == "hello\n"


# --- as a process -----------------------------------------------------------------------------------------------------


def test_it_is_a_program_with_help(database: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "--help"],
        cwd=tmp_path,
        env=environment(database, tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stderr == ""
    for command in "status jobs show submit cancel retry purge migrate doctor install".split():
        assert f" {command} " in told.stdout
