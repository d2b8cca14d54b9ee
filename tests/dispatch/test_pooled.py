"""Workers that reach the database through a real PgBouncer, which gives a connection for a transaction only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

from db import Database
from faults.ports import free_port
from tests import ROOT
from tests.daemons import Daemon, environment
from tests.database import Queries
from tests.dispatch.conftest import Start, await_done, each_ran_once, submit
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(180)

#: Server connections that all workers have together.
POOL = 2


@pytest.fixture
def pgbouncer(postgres: str) -> Iterator[int]:
    """The port of a PgBouncer in front of the tests' server."""
    parts = psycopg2.extensions.parse_dsn(postgres)
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="tksva_q-pgbouncer-"))
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={parts['host']} user={parts['user']}\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=any\n"
        f"pool_mode=transaction\ndefault_pool_size={POOL}\nmax_client_conn=1000\n"
    )
    user = pwd.getpwuid(os.stat(parts["host"]).st_uid).pw_name  # root may not run it
    if os.geteuid() == 0:
        shutil.chown(folder, user=user)
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "pgbouncer is needed: make system"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        started = subprocess.Popen([program, "-q", "-u", user, str(config)])
        stack.callback(started.wait, 20)
        stack.callback(started.terminate)
        address = psycopg2.extensions.make_dsn(host="127.0.0.1", port=port, dbname="postgres", user=parts["user"])

        def answers() -> bool:
            try:
                psycopg2.connect(address).close()
            except psycopg2.OperationalError:
                return False
            return True

        wait_for(answers)
        yield port


def test_workers_share_a_few_connections(
    start: Start, own: Database, sql: Queries, pgbouncer: int, tmp_path: Path
) -> None:
    start(Daemon)
    pooled = {"psql_host": "127.0.0.1", "psql_port": pgbouncer, "psql_pooled": "on", "psql_pwd": "none"}
    workers = [start(**pooled, workers=2, dwh_url=url_of(sql.conninfo)) for _ in range(3)]
    submit(own, count=200)
    posts = [sql.post(f"{number}.csv") for number in range(5)]
    await_done(sql, 205, 90)
    assert each_ran_once(sql)
    assert {sql.status(post) for post in posts} == {"файл подготовлен"}
    names = "application_name IN ('tksva_q worker') OR application_name LIKE 'tksva_q child%%'"
    assert 1 <= sql.value(f"SELECT count(*) FROM pg_stat_activity WHERE {names}") <= POOL
    assert [worker.stop() for worker in workers] == [0, 0, 0]


def url_of(conninfo: str) -> str:
    """DWH_URL that leads to a database without a pooler."""
    parts = psycopg2.extensions.parse_dsn(conninfo)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}"


def test_the_queue_itself_does_not_start_behind_a_pooler(database: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "queue_manager.py")],
        env=environment(database, tmp_path, psql_pooled="on"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("PSQL_POOLED: ")
