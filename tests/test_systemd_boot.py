"""The real units under a real systemd: installed, started, killed, frozen, stopped, in a container of Debian.

What systemd says of the units without running them is in test_install.py, and is asked here once more.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

import install
from tests import ROOT
from tests.container import HOME
from tests.machine import FILES, PAGE, UNIT, WEB, Machine, machine, not_booted, running
from tests.units import EXPOSURE, UNITS, systemd_analyze
from tests.waiting import wait_for

__all__ = ["machine", "running"]  # fixtures

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]

#: The watchdog of the unit in seconds that a test can wait for.
IMPATIENT = "[Service]\nWatchdogSec=3\n"


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_units_without_running_them(tmp_path: Path, unit: str) -> None:
    assert systemd_analyze("verify", "--man=no", unit_that_finds_python(tmp_path, unit)).returncode == 0
    done = systemd_analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", str(ROOT / unit))
    assert done.returncode == 0, done.stdout


def unit_that_finds_python(folder: Path, unit: str) -> str:
    text = (ROOT / unit).read_text(encoding="utf-8").replace("/opt/tksva_q/.venv/bin/python", "/bin/sh")
    (folder / unit).write_text(text, encoding="utf-8")
    return str(folder / unit)


def test_the_service_starts_and_does_a_job(running: Machine) -> None:
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


def test_the_journal_has_lines_with_priorities(running: Machine) -> None:
    running.sql.await_status(running.sql.post("a.csv", form="Nonsense"), "ошибка")
    wait_for(lambda: any("job_refused" in line["MESSAGE"] for line in running.journal()))
    lines = {line["MESSAGE"].split(" ")[2]: line for line in running.journal() if line.get("_COMM") == "python"}
    assert (lines["started"]["PRIORITY"], lines["job_refused"]["PRIORITY"]) == ("6", "4")
    assert not lines["started"]["MESSAGE"].startswith("<")


def test_the_doctor_finds_nothing_wrong_on_an_installed_machine(running: Machine) -> None:
    doctor = (f"{HOME}/.venv/bin/python", f"{HOME}/manage.py", "doctor")
    for who in ("root", "tksva_q"):
        said = running.container.run("runuser", "-u", who, "--", *doctor, check=False)
        assert [line.split()[1] for line in said.splitlines()] == ["ok"] * 10, said
    assert len(running.container.manage("install").splitlines()) == 1


def test_after_sigkill_the_service_is_back_and_the_job_goes_on(running: Machine) -> None:
    post, before = running.post_half_done(), running.pid
    running.systemctl("kill", "--kill-who=main", "--signal=KILL", UNIT)
    wait_for(lambda: running.pid not in {"0", before})
    running.assert_complete(post)
    (first, _), (second, resumed_at) = running.attempts(post)
    assert (first, second) == ("given back", "done")
    assert resumed_at >= PAGE


def test_a_frozen_loop_is_killed_by_the_watchdog_and_the_job_goes_on(running: Machine) -> None:
    running.container.run("sh", "-c", f"printf '{IMPATIENT}' >/etc/systemd/system/{UNIT}.d/test.conf")
    running.systemctl("daemon-reload")
    running.systemctl("restart", UNIT)
    post, before = running.post_half_done(), running.pid
    running.systemctl("kill", "--kill-who=main", "--signal=STOP", UNIT)
    wait_for(lambda: running.pid not in {"0", before})
    assert any("Watchdog timeout" in line["MESSAGE"] for line in running.journal())
    running.assert_complete(post)


def test_a_loop_that_goes_round_is_left_alone_by_the_watchdog(running: Machine) -> None:
    running.container.run("sh", "-c", f"printf '{IMPATIENT}' >/etc/systemd/system/{UNIT}.d/test.conf")
    running.systemctl("daemon-reload")
    running.systemctl("restart", UNIT)
    before, first = running.pid, running.heard()
    running.assert_complete(running.post())
    wait_for(lambda: running.heard() > first + 2 * 3)
    assert running.pid == before


def test_it_stops_within_30_seconds_and_the_job_waits_where_it_was(running: Machine) -> None:
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


def test_wrong_settings_end_it_with_one_line_and_no_second_try(running: Machine) -> None:
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


def test_a_server_reached_by_tcp_serves_as_well(running: Machine) -> None:
    env = running.container.run("cat", f"{HOME}/.env")
    more = f"PSQL_HOST=127.0.0.1\nPSQL_PORT={running.relay.port}\nPSQL_PWD=none\n"
    running.container.run("sh", "-c", f"cat >>{HOME}/.env <<'END'\n{more}\nEND")
    running.systemctl("restart", UNIT)
    running.container.run("sh", "-c", f"cat >{HOME}/.env <<'END'\n{env}\nEND")
    running.assert_complete(running.post())


def test_the_page_is_served_by_a_service_of_its_own(running: Machine) -> None:
    wait_for(
        lambda: running.page("/healthz").endswith("\n200"),
        complaint=lambda: running.container.run("journalctl", "-u", WEB),
    )
    assert "<html" in running.page("/")
    since = time.monotonic()
    running.systemctl("stop", WEB)
    assert time.monotonic() - since < 15
    assert running.show("ActiveState") == "active"


@pytest.mark.parametrize("unit", install.names())
def test_the_hardening_is_in_force(running: Machine, unit: str) -> None:
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


def test_where_nothing_can_be_booted_tests_are_skipped_and_fail_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not booted: no systemd"):
        not_booted("no systemd")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not booted: no systemd"):
        not_booted("no systemd")
