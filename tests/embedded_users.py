"""Other processes that use an embedded server, and a look at it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg2
import pytest

import embedded
from tests import ROOT
from tests.waiting import PATIENCE

#: A process that uses the server until its standard input ends.
USER = "import sys, pathlib, embedded; print(embedded.embedded_dsn(pathlib.Path(sys.argv[1])), flush=True); {}"


class User:
    """Another process that uses the server in `var`; the `with` block is its life."""

    def __init__(self, var: Path, then: str = "sys.stdin.read()"):
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER.format(then), str(var)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = ""

    def dsn(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        _, self.errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


def ask(dsn: str, sql: str):
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def postmaster(var: Path) -> psutil.Process:
    return psutil.Process(int((var / "postgres" / "postmaster.pid").read_text().splitlines()[0]))


def ended(process: psutil.Process) -> bool:
    """Wait for a process that is not ours; one that nobody collected has ended too."""
    deadline = time.monotonic() + PATIENCE
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except psutil.TimeoutExpired:
            continue
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def var(tmp_path):
    """A folder whose server, if this very process used it, is stopped at the end."""
    yield tmp_path / "var"
    for data in [data for data in embedded._held if data.is_relative_to(tmp_path)]:
        embedded._release(data, os.getpid())


@pytest.fixture
def warm(var):
    """The folder of a server that was made, used and stopped before."""
    with User(var) as user:
        ask(user.dsn(), "CREATE TABLE kept AS SELECT 1 AS n")
    return var
