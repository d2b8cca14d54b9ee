import csv
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import openpyxl
import psutil
import psycopg2
import pytest

from faults.ports import free_port
from tests import ROOT
from tests.waiting import PATIENCE

ROWS = 20_000


@pytest.fixture
def folder(tmp_path):
    """A working directory whose `.env` leads to somebody's real database; a demo must not follow it."""
    (tmp_path / ".env").write_text("PSQL_HOST=192.0.2.1\nPSQL_DBNAME=real\nPSQL_USER=real\nPSQL_PWD=real\n")
    return tmp_path


@contextmanager
def start(folder: Path, *words: str, port: int | None = None, **others) -> Iterator[subprocess.Popen]:
    """A demo in a session of its own, which is waited for at the end, and killed where the test fails."""
    port = port or free_port()  # not the usual one: a queue may run beside the tests
    environment = {key: value for key, value in os.environ.items() if key not in {"CHUNK_SIZE", "WORKERS", "FILES_DIR"}}
    with subprocess.Popen(
        [sys.executable, str(ROOT / "demo.py"), *words, "--rows", str(ROWS)],
        cwd=folder,
        env=environment | {"PSQL_HOST": "192.0.2.2", "VAR_DIR": "var", "CHUNK_SIZE": "20"} | {"WEB_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        **others,
    ) as process:
        try:
            yield process
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def finish(folder: Path, *words: str, port: int | None = None) -> tuple[int, str, str]:
    with start(folder, *words, port=port, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def wait_for_page(line: str) -> None:
    [address] = re.findall(r"http://[\w.:]+", line)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            page = httpx.get(address, trust_env=False, timeout=PATIENCE)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            assert page.status_code == 200
            assert "Новая выгрузка" in page.text
            return


def on_a_terminal(folder: Path) -> str:
    ours, theirs = pty.openpty()
    with start(folder, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # Linux says "input/output error" when the other end is closed
            while piece := os.read(ours, 65536):
                output += piece
    os.close(ours)
    assert process.returncode == 0
    return output.decode()


def test_the_demo_prepares_a_csv_and_an_xlsx_and_says_where_they_are(folder):
    status, output, errors = finish(folder)
    assert (status, errors) == (0, "")
    assert re.search(r"\.csv: загружено \d+ из \d+", output)
    [(csv_path, csv_rows), (xlsx_path, xlsx_rows)] = re.findall(
        r"^(/.*)  строк: (\d+)  МБ: \S+  секунд: [\d.]+$", output, re.MULTILINE
    )
    with open(csv_path, encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file, delimiter=";"))
    assert len(lines) - 1 == int(csv_rows) > ROWS / 5
    assert {line[lines[0].index("Дор. Отправления")] for line in lines[1:]} == {"Московская"}
    book = openpyxl.load_workbook(xlsx_path, read_only=True)
    assert sum(1 for _ in book.worksheets[0].rows) - 1 == int(xlsx_rows) > 0
    book.close()
    assert not (folder / "var" / "postgres" / "postmaster.pid").exists()

    bars = on_a_terminal(folder)
    assert "━" in bars
    assert "файл подготовлен" in bars
    assert len(re.findall(r"строк: \d+", bars)) == 2


def test_a_demo_that_cannot_keep_its_files_says_so_in_one_line(folder):
    (folder / "var").touch()
    status, output, errors = finish(folder)
    assert (status, output) == (1, "")
    assert re.fullmatch(r"не получилось: .*var.*\n", errors)


def test_a_demo_with_a_senseless_setting_names_the_key(folder, monkeypatch):
    monkeypatch.setenv("POLL_SECONDS", "often")
    status, _, errors = finish(folder)
    assert status == 1
    assert re.fullmatch(r"не получилось: POLL_SECONDS: .*пример: POLL_SECONDS=1\n", errors)


def test_a_job_that_fails_is_the_demos_reason(folder, monkeypatch):
    monkeypatch.setenv("JOB_TIMEOUT", "0.1")
    monkeypatch.setenv("MAX_ATTEMPTS", "1")
    status, _, errors = finish(folder)
    assert status == 1
    assert re.fullmatch(r"не получилось: .*\.(csv|xlsx): .*time limit.*\n", errors)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_run_serves_until_it_is_told_to_stop(folder, number, expected):
    with start(folder, "run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        first = [process.stdout.readline()]
        while " started " not in first[-1]:
            assert first[-1], "".join(first)
            first.append(process.stdout.readline())
        assert "Ctrl-C" in first[0]
        wait_for_page(first[0])
        left = psutil.Process(process.pid).children(recursive=True)
        left.append(psutil.Process(int((folder / "var/postgres/postmaster.pid").read_text().split()[0])))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == expected
    assert "Traceback" not in rest
    psutil.wait_procs(left, timeout=PATIENCE)
    assert [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def test_the_run_ends_when_the_queue_does(folder):
    with start(folder, "run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while " started " not in process.stdout.readline():
            assert process.poll() is None
        [queue] = [
            child for child in psutil.Process(process.pid).children() if "queue_manager.py" in str(child.cmdline())
        ]
        queue.kill()
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "очередь завершилась сама, код -9" in rest


def test_a_run_whose_page_finds_its_port_taken_says_so_and_ends(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output, errors = finish(folder, "run", port=taken.getsockname()[1])
    assert status == 1
    assert "address already in use" in output
    assert re.fullmatch(r"не получилось: страница завершилась сама, код \d+\n", errors)


def test_the_demo_leaves_a_table_alone_that_is_not_its_own(folder):
    with start(folder, "run", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while " started " not in process.stdout.readline():
            assert process.poll() is None
        sockets = (folder / "var/postgres/postmaster.pid").read_text().splitlines()[4]  # elsewhere for a long path
        connection = psycopg2.connect(host=sockets, user="postgres", dbname="postgres")
        with connection, connection.cursor() as cursor:
            cursor.execute("COMMENT ON TABLE audit._sales__execution_orders IS NULL")
        connection.close()
        process.terminate()
        process.communicate(timeout=PATIENCE)
    status, _, errors = finish(folder)
    assert status == 1
    assert re.fullmatch(r"не получилось: таблица .* не тронута\n", errors)
