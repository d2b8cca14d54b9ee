"""The guard: queries of a worker that was killed end in the server, and nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException  # type: ignore[import-untyped]

from clickhouse_guard import Guard
from faults.clickhouse import PASSWORD, SLOW, Server, slow
from tests import ROOT
from tests.clickhouse_fixtures import clickhouse
from tests.waiting import BUSY, join, wait_for

__all__ = ["clickhouse"]  # a fixture


@pytest.mark.parametrize("call", ["count", "page"])
def test_the_query_of_a_killed_child_ends_in_the_server_within_two_seconds(clickhouse: Server, call: str) -> None:
    name = slow(clickhouse)
    program = (
        "import json, sys; from dwh import *; from settings import Settings; from csvfile import CsvDialect\n"
        "opened = open_warehouse(Settings(**json.loads(sys.argv[1]))); extract = Extract('slow', (Equals('a', '1'),))\n"
        "columns = opened.columns('slow')\n"
        "if sys.argv[2] == 'count': opened.count(extract)\n"
        "else: opened.csv_page(extract, columns, 0, 9, CsvDialect(), print)"
    )
    keys = json.dumps({"click_host": "127.0.0.1", "click_port": clickhouse.port, "click_pwd": PASSWORD})
    child = subprocess.Popen([sys.executable, "-c", program, keys, call], cwd=ROOT)
    try:
        wait_for(lambda: clickhouse.running(f"`{name}`"))
    finally:
        child.kill()
        child.wait()
    killed = time.monotonic()
    wait_for(lambda: not clickhouse.running(f"`{name}`"))
    assert time.monotonic() - killed < 2 * BUSY


Start = Callable[[str], threading.Thread]


@pytest.fixture
def asked(clickhouse: Server) -> Iterator[Start]:
    """Let the server work on queries of these ids; they are ended at the end."""
    threads: list[threading.Thread] = []

    def ask(query_id: str) -> None:
        with clickhouse.client() as client, pytest.raises(ServerException):
            client.execute(f"SELECT count() FROM ({SLOW}) WHERE a = '1'", query_id=query_id)

    def start(query_id: str) -> threading.Thread:
        threads.append(thread := threading.Thread(target=ask, args=(query_id,)))
        thread.start()
        wait_for(lambda: query_id in ids(clickhouse))
        return thread

    yield start
    clickhouse.run("KILL QUERY WHERE startsWith(query_id, 'guarded-') OR startsWith(query_id, 'foreign-') ASYNC")
    join(*threads)


def ids(clickhouse: Server) -> list[str]:
    return [row[0] for row in clickhouse.run("SELECT query_id FROM system.processes")]


def guard(clickhouse: Server, **changed: object) -> Guard:
    options = {"host": "127.0.0.1", "port": clickhouse.port, "password": PASSWORD}
    return Guard(options | changed, "guarded-")


def test_an_abandoned_workers_queries_end_and_nobody_elses(clickhouse: Server, asked: Start) -> None:
    watching = guard(clickhouse)
    ended = asked("guarded-1")
    asked("foreign-guarded-1")
    watching.end(kill=True)
    join(ended)
    assert "foreign-guarded-1" in ids(clickhouse)


def test_a_guard_that_is_told_so_ends_nothing(clickhouse: Server, asked: Start) -> None:
    watching = guard(clickhouse)
    asked("guarded-2")
    watching.end(kill=False)
    assert watching._process.returncode == 0
    assert "guarded-2" in ids(clickhouse)


def test_the_password_is_not_on_the_command_line(clickhouse: Server) -> None:
    watching = guard(clickhouse)
    # Right after its start a process has no command line yet.
    line = wait_for(lambda: Path(f"/proc/{watching._process.pid}/cmdline").read_bytes().decode())
    watching.end(kill=False)
    assert "clickhouse_guard.py" in line
    assert PASSWORD not in line


@pytest.mark.parametrize("kill", [True, False])
def test_a_guard_that_is_gone_is_no_reason_to_stop(clickhouse: Server, *, kill: bool) -> None:
    watching = guard(clickhouse)
    watching._process.kill()
    watching._process.wait()
    watching.end(kill=kill)
    assert watching._process.stdin
    assert watching._process.stdin.closed


def test_a_server_that_is_gone_keeps_nobody_waiting(clickhouse: Server) -> None:
    watching = guard(clickhouse, port=1)
    watching.end(kill=True)
    assert watching._process.returncode == 1


def test_a_guard_ends_with_its_worker_whatever_is_sent_to_their_terminal(clickhouse: Server) -> None:
    """It has a session of its own: Ctrl-C must not end it before it has done its work."""
    watching = guard(clickhouse)
    session = int(Path(f"/proc/{watching._process.pid}/stat").read_text().rpartition(")")[2].split()[3])
    watching.end(kill=False)
    assert session == watching._process.pid
