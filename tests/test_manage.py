"""The command line: what it prints, for people and for programs, what it changes, how it exits."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import typer

import db
import manage
import schema
from settings import Settings
from tests.conftest import ROOT, TABLE, Daemon, Queries, environment
from tests.waiting import wait_for

PREPARED = "файл подготовлен"
WORDS = ("station_name=Тайшет", "start_date=2024-01-01", "finish_date=2024-12-31")
SUBMIT = ("submit", "DownloadForStationForm", "--user", "1", "--file", "отчёт (1) [x].csv")


class Result:
    """How a command ended."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, on the test's database and in its folder."""
    set_environment(monkeypatch, environment(database, tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            manage.main(list(words))
        return Result(ended.value.code or 0, *capsys.readouterr())

    return call


def set_environment(monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)


def refused(result: Result, code: int, text: str) -> None:
    """The command failed with one line of complaint and nothing else."""
    assert (result.code, result.out) == (code, "")
    assert len(result.err.splitlines()) == 1
    assert text in result.err


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_submitted_job_becomes_a_complete_file(run: Run, start_daemon: Callable[..., Daemon], sql: Queries) -> None:
    daemon = start_daemon()
    done = run(*SUBMIT, *WORDS)
    assert (done.code, done.out) == (0, "задача 1 в очереди\n")
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


# --- lists ------------------------------------------------------------------------------------------------------------


def test_status_says_what_waits_runs_and_failed(run: Run, sql: Queries) -> None:
    run(*SUBMIT, *WORDS)
    sql("INSERT INTO tksva_q.job (form, state, finished_at) VALUES ('A', 'failed', now())")
    text = run("status").out
    assert re.search(r"Ждут +1; самая старая \d", text)
    assert re.search(r"С ошибкой +1\b", text)
    assert "очередь не работает" in text
    found = run("status", "--json").json
    assert (found["waiting"], found["failed"], found["running"], found["last_loop_seconds"]) == (1, 1, [], None)


def test_status_shows_a_bar_for_what_runs_and_when_the_loop_last_went_round(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon = start_daemon()
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.worker"))
    daemon.process.send_signal(signal.SIGSTOP)  # it would take the job back from a worker that it does not know
    sql(
        "INSERT INTO tksva_q.job (form, user_id, file_name, state, worker, rows, total, attempt) SELECT"
        " 'A', 7, 'отчёт (1) [x].csv', 'running', gen_random_uuid(), 250, 1000, 2"
    )
    text = run("status").out
    assert re.search(rf"Последний оборот +\d+\.\d с назад \(.*процесс {daemon.pid}\)", text)
    assert re.search(r"отчёт \(1\) \[x\]\.csv +[━╸]+ +25% +250 из 1\s000 +2", text)


def test_status_tells_that_the_inspector_holds_the_table(run: Run, sql: Queries) -> None:
    sql(
        "UPDATE dwh_tables_info SET wants_to_refresh = true,"
        " wants_to_refresh_timestamp = localtimestamp - interval '5 min'"
    )
    assert re.search(rf"{re.escape(TABLE)} обновляется Инспектором уже 5 мин", run("status").out)


def test_jobs_are_listed_by_state_and_user(run: Run, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, user_id, state, finished_at, error) VALUES"
        " ('A', 1, 'done', now(), NULL), ('A', 2, 'failed', now(), 'причина [красная]'), ('B', 2, 'done', now(), NULL)"
    )
    assert [job["id"] for job in run("jobs", "--json").json] == [3, 2, 1]
    assert [job["id"] for job in run("jobs", "--state", "done", "--user", "2", "--json").json] == [3]
    assert [job["id"] for job in run("jobs", "--form", "A", "--limit", "1", "--page", "2", "--json").json] == [1]
    text = run("jobs", "--limit", "2").out
    assert re.search(r"2 +2 +ошибка +A .* причина \[красная\]", text)
    assert "--page 2" in text
    assert run("jobs", "--state", "cancelled").out == "Таких задач нет.\n"


def test_what_users_have_typed_does_not_steer_the_terminal(run: Run, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, finished_at, error) VALUES (%s, 'failed', now(), %s)",
        "\x1b[2J",
        "a\nb\x07",
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", run("jobs").out + run("show", "1").out)


def test_show_tells_every_attempt_with_its_reason_and_what_pages_took(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries
) -> None:
    daemon = start_daemon(CHUNK_SIZE=400)
    post = sql.post("a.csv")
    sql.await_status(post, PREPARED)
    daemon.stop()
    sql(
        "INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, outcome, reason, finished_at)"
        " VALUES (1, 0, gen_random_uuid(), 'machine x', 'retry', 'хранилище недоступно', now())"
    )
    found = run("show", "1", "--json").json
    assert [(attempt["outcome"], attempt["reason"]) for attempt in found["attempts"]] == [
        ("retry", "хранилище недоступно"),
        ("done", None),
    ]
    assert [page["rows"] for page in found["pages"]] == [400, 400, 200]
    assert {"fetch", "write"} <= set(found["pages"][0]["seconds"])
    assert json.loads(found["params"])["station_name"] == "Тайшет"
    text = run("show", "1", "--pages", "2").out
    assert "хранилище недоступно" in text
    assert "будет повтор" in text
    assert "2 последних из 3" in text
    assert '"station_name": "Тайшет"' in text


def test_a_job_that_is_not_there_cannot_be_shown_cancelled_or_retried(run: Run) -> None:
    for words in (("show", "7"), ("cancel", "7"), ("retry", "7")):
        refused(run(*words), 1, "задачи 7 нет")


# --- cancel, retry, purge ---------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_with_what_it_has_prepared(run: Run, sql: Queries, tmp_path: Path) -> None:
    run(*SUBMIT, *WORDS)
    sql("UPDATE tksva_q.job SET attempt = 1")
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    for name in (".tksva_q-1-1.part", ".tksva_q-2-1.part", "other.csv"):
        (folder / name).touch()
    assert run("cancel", "1").out == "задача 1 отменена\n"
    assert sorted(path.name for path in folder.iterdir()) == [".tksva_q-2-1.part", "other.csv"]
    refused(run("cancel", "1"), 1, "отменена")


def test_a_running_job_is_stopped_whatever_it_waits_for(
    run: Run, start_daemon: Callable[..., Daemon], sql: Queries, database: str
) -> None:
    daemon = start_daemon(CHUNK_SIZE=1)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено .*")
    with psycopg2.connect(database) as holder, holder.cursor() as cursor:  # the next page is never answered
        cursor.execute("LOCK TABLE audit._sales__execution_orders IN ACCESS EXCLUSIVE MODE")
        assert run("cancel", "1").out == "задача 1 останавливается\n"
        wait_for(lambda: sql.value("SELECT state FROM tksva_q.job") == "cancelled")
    holder.close()
    assert list(daemon.file("a.csv").parent.iterdir()) == []


def test_a_failed_job_is_retried_and_all_of_them_are(run: Run, sql: Queries) -> None:
    run(*SUBMIT, *WORDS)
    sql("INSERT INTO tksva_q.job (form) VALUES ('A'), ('B')")
    sql("UPDATE tksva_q.job SET state = 'failed', finished_at = now()")
    assert run("retry", "1").out == "снова в очереди: 1\n"
    refused(run("retry", "1"), 1, "ждёт")
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
