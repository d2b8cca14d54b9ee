"""Log lines: one an event, readable by people and machines, and never a secret in them."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import psycopg2.extensions
import pytest

import logs
from logs import log
from settings import Settings
from tests import ROOT
from tests.daemons import Daemon
from tests.database import Queries
from tests.waiting import wait_for

PASSWORD = "Тайна №7 %@:/?'\"\\ end"


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    """What `setup` changes in a process is changed back, so that other tests find pytest's own."""
    hooks, level = (sys.excepthook, threading.excepthook), log.level
    logs._secrets = logs.Secrets()
    yield
    sys.excepthook, threading.excepthook = hooks
    logs._replace([])
    log.setLevel(level)
    logging.captureWarnings(False)
    logs._secrets = logs.Secrets()


def set_up(capsys: pytest.CaptureFixture[str], **settings: Any) -> Callable[[], str]:
    """Set the logs up in this process; return what reads the lines written since."""
    logs.setup(Settings(_env_file=None, **settings))  # type: ignore[call-arg]
    return lambda: capsys.readouterr().out


def test_an_event_is_one_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys)
    log.info("job_done", extra={"job": 7, "form": "A B", "seconds": 1.23456, "reason": None, "file": 'о "x".csv'})
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d INFO job_done"
        r' job=7 form="A B" seconds=1\.235 file="о \\"x\\"\.csv"\n',
        written(),
    )


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\u2028b", "\x00", "\ud800", ""])
@pytest.mark.parametrize("as_json", [False, True])
def test_no_text_can_break_a_line_or_paint_a_terminal(
    capsys: pytest.CaptureFixture[str], text: str, as_json: bool
) -> None:
    written = set_up(capsys, log_json=as_json)
    log.info("event", extra={"reason": text})
    lines = written()
    assert lines.endswith("\n")
    assert len(lines.splitlines()) == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", lines)


def test_json_gives_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys, log_json=True)
    log.warning("job_retry", extra={"job": 7, "reason": "нет «связи»\nсовсем", "seconds": 0.5, "level": "mine"})
    line = json.loads(written())
    assert line.pop("time")
    assert list(line.items()) == [
        ("level", "WARNING"),
        ("event", "job_retry"),
        ("job", 7),
        ("reason", "нет «связи»\nсовсем"),
        ("seconds", 0.5),
    ]


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys, log_level="WARNING")
    log.info("quiet")
    log.warning("loud")
    assert "loud" in (lines := written())
    assert "quiet" not in lines


def test_what_libraries_say_is_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys)
    logging.getLogger("alembic").warning("two\nlines")
    assert re.search(r"WARNING two\\nlines$", written())


def test_a_second_setup_takes_the_place_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(capsys)
    written = set_up(capsys)
    log.info("once")
    assert written().count("once") == 1


def test_the_journal_gets_priorities_and_a_file_does_not(tmp_path: Path) -> None:
    program = (
        "import logs, settings; logs.setup(settings.Settings(log_level='DEBUG'));"
        "[getattr(logs.log, level)('event') for level in ('debug', 'info', 'warning', 'error', 'critical')]"
    )
    command = [sys.executable, "-c", program]
    inherited = {**os.environ, "JOURNAL_STREAM": "8:1"}
    piped = subprocess.run(command, cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True, check=True)
    assert [line[:3] for line in piped.stdout.splitlines()] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    with (tmp_path / "out").open("w") as file:
        subprocess.run(command, cwd=ROOT, env=inherited, stdout=file, check=True)
    assert "<" not in (tmp_path / "out").read_text()


# --- secrets ----------------------------------------------------------------------------------------------------------


def spellings(secret: str) -> list[str]:
    return [secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_secret_of_the_settings_is_hidden_however_it_is_written(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    url = f"postgresql://user:{quote(PASSWORD, safe='')}@host:5432/base"
    secrets = {
        "psql_pwd": "psql-secret-1",
        "click_pwd": "click-secret-2",
        "api_token": "api-secret-3",
        "broker_url": "amqp://user:broker-secret-4@host/",
        "dwh_url": url,
    }
    psql = {"psql_host": "host", "psql_dbname": "base", "psql_user": "user"}
    written = set_up(capsys, log_json=as_json, **psql, **secrets)
    told = [*secrets.values(), "broker-secret-4", *spellings(PASSWORD)]
    for text in told:
        log.info("message %s", text)
        log.info("field", extra={"reason": f"before {text} after"})
        try:
            raise ConnectionError(f"cannot connect with [{text}]")
        except ConnectionError:
            log.exception("raised")
    lines = written()
    assert len(lines.splitlines()) == 3 * len(told)
    for text in ["psql-secret-1", "click-secret-2", "api-secret-3", "broker-secret-4", *spellings(PASSWORD)]:
        assert text not in lines
        assert json.dumps(text)[1:-1] not in lines


def test_an_unescaped_sign_in_a_password_does_not_lay_the_rest_of_it_open(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys, dwh_url="postgresql://user:first@secondpart@nowhere.invalid/base")
    log.error("event", extra={"reason": 'could not translate host name "secondpart@nowhere.invalid"'})
    assert "secondpart" not in written()


def test_a_short_password_is_hidden_as_a_word_and_leaves_other_words_whole(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys, psql_host="h", psql_dbname="d", psql_user="u", psql_pwd="ab")
    log.info("about", extra={"reason": "abc 'ab' (ab) cab"})
    assert "INFO about reason=\"abc '***' (***) cab\"" in written()


def test_passwords_of_nobodys_settings_are_known_by_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    written = set_up(capsys)
    log.info("event", extra={"reason": "host=h password='a b' redis://me:other@h/0 http://h/?token=third&x=1"})
    assert written().rstrip().endswith('"host=h password=*** redis://me:***@h/0 http://h/?token=***&x=1"')


def test_the_traceback_of_a_connection_that_failed_has_no_password(
    capsys: pytest.CaptureFixture[str], postgres: str
) -> None:
    written = set_up(capsys, psql_host="h", psql_dbname="d", psql_user="u", psql_pwd=PASSWORD)
    conninfo = psycopg2.extensions.make_dsn(
        postgres, password=PASSWORD, dbname=f"no {PASSWORD}"
    )  # the answer echoes it
    try:
        psycopg2.connect(conninfo)
    except psycopg2.OperationalError as error:
        try:
            raise RuntimeError(f"could not use {conninfo}") from error
        except RuntimeError:
            log.exception("failed")
    line = written()
    assert "RuntimeError: could not use" in line
    assert line.count("***") == 3
    for text in spellings(PASSWORD):
        assert text not in line


def test_a_daemon_that_cannot_log_in_does_not_tell_the_password(tmp_path: Path) -> None:
    """The server is a real one that asks for the password and finds it wrong."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    wire = server.accept()[0]
                except OSError:
                    return
                with wire:
                    if wire.recv(1024)[4:8] == b"\x04\xd2\x16\x2f":  # may we speak TLS?
                        wire.sendall(b"N")
                        wire.recv(1024)
                    wire.sendall(b"R\0\0\0\x08\0\0\0\x03")  # AuthenticationCleartextPassword
                    given = wire.recv(1024)[5:-1].decode()
                    text = f'SFATAL\0C28P01\0Mpassword "{given}" is wrong\0\0'.encode()
                    wire.sendall(b"E" + (len(text) + 4).to_bytes(4, "big") + text)

        threading.Thread(target=refuse, daemon=True).start()
        conninfo = psycopg2.extensions.make_dsn(
            host="127.0.0.1", port=server.getsockname()[1], user="u", dbname="d", password=PASSWORD
        )
        daemon = Daemon(conninfo, tmp_path, LOG_LEVEL="DEBUG")
        try:
            assert "is wrong" in daemon.await_line("database_away")
        finally:
            daemon.kill()
    assert "Тайна" not in daemon.log
    assert "***" in daemon.log


def test_what_nobody_caught_is_one_line_without_secrets(tmp_path: Path) -> None:
    program = (
        "import logs, settings, threading\n"
        "logs.setup(settings.Settings(api_token='api-secret-3'))\n"
        "def fail(): raise ValueError('api-secret-3')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert [line.split()[1:3] for line in ended.stdout.splitlines()] == [["CRITICAL", "crashed"]] * 2
    assert "api-secret" not in ended.stdout
    assert "ValueError: ***" in ended.stdout


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_main_file_has_what_the_level_lets_through_and_the_debug_file_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written = set_up(capsys, log_file=str(tmp_path / "queue.log"))
    log.debug("small")
    log.info("great")
    main, debug = (tmp_path / "queue.log").read_text(), (tmp_path / "queue.debug.log").read_text()
    assert [line.split()[2] for line in main.splitlines()] == ["great"]
    assert [line.split()[2] for line in debug.splitlines()] == ["small", "great"]
    assert "small" not in written()


def test_a_file_that_cannot_be_written_costs_a_warning_and_not_the_service(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written = set_up(capsys, log_file=str(tmp_path / "absent" / "queue.log"))
    log.info("alive")
    lines = written()
    assert "log_file_not_written" in lines
    assert "alive" in lines


# --- a real daemon ----------------------------------------------------------------------------------------------------


def test_a_job_of_any_length_writes_few_lines(start_daemon: Callable[..., Daemon], sql: Queries) -> None:
    daemon = start_daemon(CHUNK_SIZE=10, LOG_LEVEL="DEBUG")
    post = sql.post("отчёт (1).csv")
    sql.await_status(post, "файл подготовлен")
    assert sql.value("SELECT count(*) FROM tksva_q.page") == 100
    done = daemon.await_line("job_done")
    fields = dict(pair.split("=") for pair in done.split()[3:])
    assert {"job", "attempt", "form", "user", "rows", "seconds"} == set(fields)
    assert fields["rows"] == "1000"
    daemon.stop()
    assert sum("job=" in line for line in daemon.lines) <= 3


def test_a_restart_appends_to_the_file_of_the_run_before(database: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.log"
    for starts in (1, 2):
        daemon = Daemon(database, tmp_path, LOG_FILE=path)
        wait_for(lambda: path.exists() and path.read_text().count(" INFO started ") == starts)  # noqa: B023
        daemon.stop()
