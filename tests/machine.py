"""A machine with the queue installed under a real systemd: a container, its services, the web UI's view of its jobs."""

from __future__ import annotations

import json
import os
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg2.extensions
import pytest

import install
from faults.ports import free_port
from tests.container import HOME, CannotBoot, Container, Relay, obstacle
from tests.database import Queries, server_cursor
from tests.units import UNITS

UNIT, WEB, _WORKER = UNITS
PREPARED = "файл подготовлен"
FILES = "/srv/tksva_q"
#: Rows of a page: a job of a thousand rows lasts long enough to be interrupted in its middle.
PAGE = 2

ENV = f"""
PSQL_HOST=/run/pg
PSQL_DBNAME={{base}}
PSQL_USER=postgres
FILES_DIR={FILES}
FILES_GROUP=www-data
CHUNK_SIZE={PAGE}
WEB_PORT={{port}}
"""


class Machine:
    """The container with the queue installed, and the web UI's view of its database."""

    def __init__(self, container: Container, sql: Queries, relay: Relay, home: Path) -> None:
        self.container = container
        self.sql = sql
        self.relay = relay
        self.home = home
        self.web_port = free_port()

    def systemctl(self, *words: str) -> str:
        return self.container.run("systemctl", *words)

    def show(self, key: str, unit: str = UNIT) -> str:
        return self.systemctl("show", unit, "-p", key, "--value").strip()

    def page(self, path: str) -> str:
        """What the page says, the HTTP status as its last line; asked from here, whose network is the container's."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=10) as answer:
                return f"{answer.read().decode()}\n{answer.status}"
        except OSError as error:
            return str(error)

    @property
    def pid(self) -> str:
        return self.show("MainPID")

    def heard(self) -> float:
        """When the watchdog has heard of the service for the last time, in seconds of the machine's own."""
        return int(self.show("WatchdogTimestampMonotonic")) / 1e6

    def journal(self) -> list[dict[str, str]]:
        """What the journal has of the unit's newest run, and of systemd's about it."""
        lines = self.container.run("journalctl", "-u", UNIT, "-o", "json", "--no-pager").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def post(self, name: str | None = None) -> int:
        return self.sql.post(name or f"{uuid.uuid4()}.csv")

    def post_half_done(self) -> int:
        """Queue a job and wait until it is in its middle."""
        post = self.post()
        self.sql.await_status(post, r"загружено \d{2,3} из 1000")
        return post

    def attempts(self, post: int) -> list[tuple[str | None, int]]:
        return self.sql(
            "SELECT outcome, rows_before FROM tksva_q.attempt JOIN tksva_q.job ON job.id = job_id"
            " WHERE post_id = %s ORDER BY attempt.attempt",
            post,
        )

    def file(self, post: int) -> str:
        name = self.sql.value("SELECT file_to_download FROM post WHERE id = %s", post)
        return self.container.run("cat", f"{FILES}/1/{name}")

    def assert_complete(self, post: int) -> None:
        """The job has come to its end, and its file has every row once."""
        self.sql.await_status(post, PREPARED)
        lines = self.file(post).splitlines()
        assert len(lines) == len(set(lines)) == 1001


def not_booted(reason: str) -> NoReturn:
    """Skip the test: this machine cannot run a container. CI can, and what it skipped nobody would ever see."""
    said = f"the units were not booted: {reason}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture(scope="module")
def machine(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine with the queue installed by `manage.py install`."""
    if reason := obstacle():
        not_booted(reason)
    base = f"boot_{os.getpid()}"
    with server_cursor(postgres) as cursor:
        cursor.execute(f"CREATE DATABASE {base} TEMPLATE {template} STRATEGY FILE_COPY")
    folder = tmp_path_factory.mktemp("boot")
    sockets = tmp_path_factory.mktemp("sockets")
    relay = Relay(f"{psycopg2.extensions.parse_dsn(postgres)['host']}/.s.PGSQL.5432", sockets)
    sql = Queries(psycopg2.extensions.make_dsn(postgres, dbname=base))
    container = None
    try:
        container = Container(folder, {"/run/pg": sockets})
        yield set_up(Machine(container, sql, relay, folder / "tksva_q"), base)
    except CannotBoot as error:
        not_booted(str(error))
    finally:
        if container is not None:
            container.stop()
        sql.close()
        relay.close()
        with server_cursor(postgres) as cursor:
            cursor.execute(f"DROP DATABASE {base} WITH (FORCE)")


def set_up(machine: Machine, base: str) -> Machine:
    """Install as an administrator would, over the folder of an older queue that another user ran."""
    run = machine.container.run
    run("sh", "-c", f"mkdir -p {FILES}/1 && echo old >{FILES}/1/old.csv && chown -R nobody:nogroup {FILES}")
    env = (machine.home / ".envexample").read_text(encoding="utf-8") + ENV.format(base=base, port=machine.web_port)
    run("sh", "-c", f"cat >{HOME}/.env <<'END'\n{env}\nEND")
    machine.container.manage("install")
    return machine


@pytest.fixture
def running(machine: Machine) -> Iterator[Machine]:
    """The machine with the service started as the unit has it."""
    machine.systemctl("start", *install.names())
    yield machine
    machine.container.run("rm", "-f", f"/etc/systemd/system/{UNIT}.d/test.conf")
    machine.systemctl("daemon-reload")
    machine.systemctl("reset-failed")
    machine.systemctl("stop", *install.names())
