"""The real units under a real systemd: installed, started, killed, frozen, stopped, in a container of Debian.

Where a machine cannot run one, this says so where nobody overlooks it; what systemd says of the units without
running them is in test_install.py, and is asked here once more.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

import install
from faults.ports import free_port
from tests.conftest import ROOT, Queries, server_cursor, wait_for
from tests.container import HOME, CannotBoot, Container, Relay, obstacle
from tests.test_install import EXPOSURE, UNITS, systemd_analyze

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

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

#: The watchdog of the unit in seconds that a test can wait for.
IMPATIENT = "[Service]\nWatchdogSec=3\n"


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
        self.sql.await_status(post, PREPARED, 60)
        lines = self.file(post).splitlines()
        assert len(lines) == len(set(lines)) == 1001


def loudly(request: pytest.FixtureRequest, reason: str) -> None:
    """Say in the middle of pytest's own output, whatever it captures, that nothing was booted."""
    manager = request.config.pluginmanager
    reporter, capture = manager.get_plugin("terminalreporter"), manager.get_plugin("capturemanager")
    assert reporter
    assert capture
    with capture.global_and_fixture_disabled():
        reporter.ensure_newline()
        reporter.write_sep("!", "THE UNITS WERE NOT BOOTED", red=True, bold=True)
        reporter.write_line(f"This machine cannot run a container with systemd: {reason}", red=True, bold=True)


@pytest.fixture(scope="module")
def machine(
    request: pytest.FixtureRequest, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine | None]:
    """A booted machine with the queue installed by `manage.py install`; None where there can be none."""
    if reason := obstacle():
        loudly(request, reason)
        yield None
        return
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
        loudly(request, str(error))
        yield None
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
def running(machine: Machine | None) -> Iterator[Machine | None]:
    """The machine with the service started as the unit has it."""
    if machine is None:
        yield None
        return
    machine.systemctl("start", *install.names())
    yield machine
    machine.container.run("rm", "-f", f"/etc/systemd/system/{UNIT}.d/test.conf")
    machine.systemctl("daemon-reload")
    machine.systemctl("reset-failed")
    machine.systemctl("stop", *install.names())


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_units_without_running_them(tmp_path: Path, unit: str) -> None:
    assert systemd_analyze("verify", "--man=no", unit_that_finds_python(tmp_path, unit)).returncode == 0
    done = systemd_analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", str(ROOT / unit))
    assert done.returncode == 0, done.stdout


def unit_that_finds_python(folder: Path, unit: str) -> str:
    text = (ROOT / unit).read_text(encoding="utf-8").replace("/opt/tksva_q/.venv/bin/python", "/bin/sh")
    (folder / unit).write_text(text, encoding="utf-8")
    return str(folder / unit)


def test_the_service_starts_and_does_a_job(running: Machine | None) -> None:
    if running is None:
        return
    # `systemctl start` of a unit of Type=notify returns when READY=1 has come.
    assert (running.show("ActiveState"), running.show("SubState"), running.show("Type")) == (
        "active",
        "running",
        "notify",
    )
    post = running.post("отчёт (1).csv")
    running.assert_complete(post)
    rights = running.container.run("stat", "-c", "%U:%G %a", f"{FILES}/1/отчёт (1).csv", f"{FILES}/1", FILES)
    assert rights.split() == ["tksva_q:www-data", "640", *["tksva_q:www-data", "2750"] * 2]


def test_the_journal_has_lines_with_priorities(running: Machine | None) -> None:
    if running is None:
        return
    running.sql.await_status(running.sql.post("a.csv", form="Nonsense"), "ошибка")
    wait_for(lambda: any("job_refused" in line["MESSAGE"] for line in running.journal()))
    lines = {line["MESSAGE"].split(" ")[2]: line for line in running.journal() if line.get("_COMM") == "python"}
    assert (lines["started"]["PRIORITY"], lines["job_refused"]["PRIORITY"]) == ("6", "4")
    assert not lines["started"]["MESSAGE"].startswith("<")


def test_the_doctor_finds_nothing_wrong_on_an_installed_machine(running: Machine | None) -> None:
    if running is None:
        return
    doctor = (f"{HOME}/.venv/bin/python", f"{HOME}/manage.py", "doctor")
    for who in ("root", "tksva_q"):
        said = running.container.run("runuser", "-u", who, "--", *doctor, check=False)
        assert [line.split()[1] for line in said.splitlines()] == ["ok"] * 10, said
    assert len(running.container.manage("install").splitlines()) == 1


def test_after_sigkill_the_service_is_back_and_the_job_goes_on(running: Machine | None) -> None:
    if running is None:
        return
    post, before = running.post_half_done(), running.pid
    running.systemctl("kill", "--kill-who=main", "--signal=KILL", UNIT)
    wait_for(lambda: running.pid not in {"0", before}, 20)
    running.assert_complete(post)
    (first, _), (second, resumed_at) = running.attempts(post)
    assert (first, second) == ("given back", "done")
    assert resumed_at >= PAGE


def test_a_frozen_loop_is_killed_by_the_watchdog_and_the_job_goes_on(running: Machine | None) -> None:
    if running is None:
        return
    running.container.run("sh", "-c", f"printf '{IMPATIENT}' >/etc/systemd/system/{UNIT}.d/test.conf")
    running.systemctl("daemon-reload")
    running.systemctl("restart", UNIT)
    post, before = running.post_half_done(), running.pid
    running.systemctl("kill", "--kill-who=main", "--signal=STOP", UNIT)
    wait_for(lambda: running.pid not in {"0", before}, 30)
    assert any("Watchdog timeout" in line["MESSAGE"] for line in running.journal())
    running.assert_complete(post)


def test_a_loop_that_goes_round_is_left_alone_by_the_watchdog(running: Machine | None) -> None:
    if running is None:
        return
    running.container.run("sh", "-c", f"printf '{IMPATIENT}' >/etc/systemd/system/{UNIT}.d/test.conf")
    running.systemctl("daemon-reload")
    running.systemctl("restart", UNIT)
    before, since = running.pid, time.monotonic()
    running.assert_complete(running.post())
    wait_for(lambda: time.monotonic() - since > 7)
    assert running.pid == before


def test_it_stops_within_30_seconds_and_the_job_waits_where_it_was(running: Machine | None) -> None:
    if running is None:
        return
    post = running.post_half_done()
    began = time.monotonic()
    running.systemctl("stop", UNIT)
    assert time.monotonic() - began < 30
    assert (running.show("ActiveState"), running.show("Result"), running.show("ExecMainStatus")) == (
        "inactive",
        "success",
        "0",
    )
    assert running.sql.status(post) == "в очереди"
    assert running.sql("SELECT spent, rows >= %s FROM tksva_q.job WHERE post_id = %s", PAGE, post) == [(0, True)]
    left = running.container.run("sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '", check=False)
    assert "queue_manager" not in left
    assert "forkserver" not in left
    running.systemctl("start", UNIT)
    running.assert_complete(post)


def test_wrong_settings_end_it_with_one_line_and_no_second_try(running: Machine | None) -> None:
    if running is None:
        return
    env = running.container.run("cat", f"{HOME}/.env")
    running.systemctl("stop", UNIT)
    running.container.run("sh", "-c", f"echo CHUNK_SIZE=many >>{HOME}/.env")
    running.container.run("systemctl", "start", UNIT, check=False)
    running.container.run("sh", "-c", f"cat >{HOME}/.env <<'END'\n{env}\nEND")
    assert (running.show("ActiveState"), running.show("ExecMainStatus"), running.show("NRestarts")) == (
        "failed",
        "2",
        "0",
    )
    assert any("CHUNK_SIZE" in line["MESSAGE"] for line in running.journal())


def test_a_server_reached_by_tcp_serves_as_well(running: Machine | None) -> None:
    if running is None:
        return
    env = running.container.run("cat", f"{HOME}/.env")
    more = f"PSQL_HOST=127.0.0.1\nPSQL_PORT={running.relay.port}\nPSQL_PWD=none\n"
    running.container.run("sh", "-c", f"cat >>{HOME}/.env <<'END'\n{more}\nEND")
    running.systemctl("restart", UNIT)
    running.container.run("sh", "-c", f"cat >{HOME}/.env <<'END'\n{env}\nEND")
    running.assert_complete(running.post())


def test_the_page_is_served_by_a_service_of_its_own(running: Machine | None) -> None:
    if running is None or WEB not in install.names():
        return
    wait_for(
        lambda: running.page("/healthz").endswith("\n200"), 20, lambda: running.container.run("journalctl", "-u", WEB)
    )
    assert "<html" in running.page("/")
    since = time.monotonic()
    running.systemctl("stop", WEB)
    assert time.monotonic() - since < 15
    assert running.show("ActiveState") == "active"


@pytest.mark.parametrize("unit", UNITS)
def test_the_hardening_is_in_force(running: Machine | None, unit: str) -> None:
    if running is None or unit not in install.names():
        return
    run, pid = running.container.run, running.show("MainPID", unit)
    status = dict(line.split(":\t", 1) for line in run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert set(status["Uid"].split()) == {run("id", "-u", "tksva_q").strip()}
    assert run("id", "-g", "www-data").strip() in status["Groups"].split()

    def inside(command: str) -> str:
        """Run a command as root in what the service sees of the file system."""
        return run("nsenter", "-t", pid, "-m", "sh", "-c", command, check=False)

    for folder in ("/etc", "/usr", "/var/log", "/boot", HOME):
        assert "Read-only file system" in inside(f"touch {folder}/probe"), folder
    for folder in (FILES, "/var/lib/tksva_q", "/var/log/tksva_q"):
        assert inside(f"touch {folder}/probe && rm {folder}/probe") == "", folder
    assert inside("ls -A /root /home").split() == ["/home:", "/root:"]
    found = re.search(r"exposure level for \S+: ([\d.]+)", run("systemd-analyze", "security", "--no-pager", unit))
    assert found
    assert float(found[1]) <= EXPOSURE
