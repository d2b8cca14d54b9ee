"""The units as systemd itself judges them, and what `manage.py install` makes of them for an installation."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import db
import install
import settings as settings_module
import worker_loop
from errors import QueueError
from settings import Settings
from tests import ROOT
from tests.units import EXPOSURE, UNITS, systemd_analyze

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


def settings_of(**values: object) -> Settings:
    psql = {"psql_host": "/run/postgresql", "psql_dbname": "tksva", "psql_user": "tksva"}
    return Settings(**(psql | {"files_dir": "/srv/files", "var_dir": "/var/lib/q"} | values))  # type: ignore[arg-type]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the files of both units as `install` does, into a folder of the test's; return it."""
    monkeypatch.setattr(install, "SYSTEM", tmp_path)
    monkeypatch.setattr(install, "names", lambda: list(UNITS))

    def write(**values: object) -> Path:
        for path, text in install.unit_files(settings_of(**values), install.USER).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def property_of(unit: str, key: str) -> str:
    values = re.findall(rf"^{key}=(.*)$", (ROOT / unit).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(values) == 1, f"{unit}: {key} stands there {len(values)} times"
    return str(values[0])


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(installed: Callable[..., Path], unit: str) -> None:
    done = systemd_analyze("verify", "--man=no", str(installed() / unit))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("settings", [{}, {"files_dir": "/home/tksva/files", "files_group": MY_GROUP}])
def test_systemd_finds_little_that_a_break_in_could_use(
    installed: Callable[..., Path], unit: str, settings: dict[str, str]
) -> None:
    done = systemd_analyze("security", "--offline=true", "--no-pager", str(installed(**settings) / unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= EXPOSURE, done.stdout


def test_the_queue_is_given_the_time_that_it_needs_to_stop() -> None:
    for unit in ("tksva_q.service", install.WORKER):
        assert float(property_of(unit, "TimeoutStopSec")) > worker_loop.DRAIN_SECONDS + 2 + 10


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("Restart", "always"),
        ("KillMode", "mixed"),
        ("OOMPolicy", "continue"),
        ("Wants", "network-online.target"),
        ("After", "network-online.target postgresql.service"),
        ("StartLimitIntervalSec", "0"),
        ("RestartPreventExitStatus", "2"),
        ("WantedBy", "multi-user.target"),
    ],
)
def test_the_queue_is_started_watched_and_stopped_as_it_wants(key: str, value: str) -> None:
    assert property_of("tksva_q.service", key) == value


def test_a_silent_database_does_not_look_like_a_frozen_loop() -> None:
    """Two calls in a row that the server does not answer must fit in between two signs of life."""

    assert float(property_of("tksva_q.service", "WatchdogSec")) > 2 * db.CALL_SECONDS + db.CONNECT_SECONDS


# --- what an installation has of its own ------------------------------------------------------------------------------


def drop_in(folder: Path, unit: str = UNITS[0]) -> list[str]:
    return (folder / f"{unit}.d" / "install.conf").read_text(encoding="utf-8").splitlines()


def test_the_drop_in_names_what_this_installation_has_of_its_own(installed: Callable[..., Path]) -> None:
    lines = drop_in(installed(files_group=MY_GROUP))
    assert {f"User={install.USER}", f"WorkingDirectory={ROOT}", f"SupplementaryGroups={MY_GROUP}"} <= set(lines)
    assert "ReadWritePaths=-/srv/files -/var/lib/q" in lines
    assert [line for line in lines if line.startswith("ExecStart=/") and line.endswith(" queue_manager.py")]
    worker = drop_in(installed(files_group=MY_GROUP), install.WORKER)
    assert [line for line in worker if line.startswith("ExecStart=/") and line.endswith(" broker_worker.py")]
    assert f"SupplementaryGroups={MY_GROUP}" in worker
    web = drop_in(installed(), UNITS[1])
    assert [line for line in web if line.startswith("ExecStart=/") and line.endswith(" -m web")]
    assert not [line for line in web if line.startswith("SupplementaryGroups")]


def test_the_drop_in_opens_what_the_folders_need_and_no_more(installed: Callable[..., Path]) -> None:
    def opened(**values: object) -> list[str]:
        return [line for line in drop_in(installed(**values)) if line.startswith(("ProtectHome", "PrivateTmp"))]

    where = ["ProtectHome=read-only"] if str(ROOT).startswith(("/home/", "/root/")) else []
    assert opened() == opened(psql_host="/var/run/postgresql") == where
    assert opened(files_dir="/home/tksva/files") == ["ProtectHome=read-only"]
    assert opened(psql_host="/tmp/pg") == [*where, "PrivateTmp=no"]  # noqa: S108
    assert "ReadWritePaths=-/srv/files -/var/lib/q -/var/log/q" in drop_in(installed(log_file="/var/log/q/queue.log"))


def test_folders_with_odd_names_are_written_so_that_systemd_reads_them(installed: Callable[..., Path]) -> None:
    folder = installed(files_dir='/srv/a b%c"d')
    assert 'ReadWritePaths="-/srv/a b%%c\\"d" -/var/lib/q' in drop_in(folder)
    done = systemd_analyze("verify", "--man=no", str(folder / UNITS[0]))
    assert (done.returncode, done.stderr) == (0, "")


# --- the steps --------------------------------------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/called"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: the project's folder, systemd's folder, a systemctl; the tester counts as root."""
    home = tmp_path / "tksva_q"
    home.mkdir()
    for name in (*UNITS, ".envexample"):
        shutil.copy(ROOT / name, home)
    system = tmp_path / "system"
    system.mkdir()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "systemctl").write_text(SYSTEMCTL)
    (bin_ / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(install, "HERE", home)
    monkeypatch.setattr(install, "SYSTEM", system)
    monkeypatch.setattr(install.os, "geteuid", lambda: 0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(home: Path) -> None:
    env = home / ".env"
    env.write_text(
        env.read_text()
        + "VAR_DIR=var\nPSQL_HOST=/run/postgresql\nPSQL_DBNAME=tksva\nPSQL_USER=tksva\nFILES_DIR=files\n"
    )


def test_an_installation_is_made_step_by_step_and_the_second_time_nothing_is_left_to_do(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, system = machine / "tksva_q", machine / "system"
    with pytest.raises(QueueError, match="впишите PSQL_"):
        install.install(ME, dry_run=False)
    assert f"VAR_DIR={install.HOME}" in (home / ".env").read_text()
    assert (home / ".env").stat().st_mode & 0o777 == 0o640
    fill(home)
    install.install(ME, dry_run=False)
    assert sorted(path.name for path in system.rglob("*")) == ["install.conf", "tksva_q.service", "tksva_q.service.d"]
    assert (home / "files").stat().st_mode & 0o7777 == 0o2750
    called = (machine / "bin" / "called").read_text().splitlines()
    assert called == ["daemon-reload", "enable tksva_q.service"]
    capsys.readouterr()
    install.install(ME, dry_run=False)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_dry_run_prints_and_changes_nothing(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(machine.rglob("*"))
    install.install("somebody_new", dry_run=True)
    said = capsys.readouterr().out
    for words in ("useradd", "cp ", "mkdir -p", "chmod 2750", "tksva_q.service", "daemon-reload", "enable"):
        assert words in said
    assert sorted(path for path in machine.rglob("*") if path.name != "called") == before


def test_a_change_of_the_settings_reaches_the_units(machine: Path) -> None:
    home, system = machine / "tksva_q", machine / "system"
    shutil.copy(home / ".envexample", home / ".env")
    fill(home)
    install.install(ME, dry_run=False)
    with (home / ".env").open("a") as env:
        env.write("FILES_DIR=elsewhere\n")
    install.install(ME, dry_run=False)
    assert f"ReadWritePaths=-{home}/elsewhere -{home}/var" in drop_in(system)
    (home / "web").mkdir()
    install.install(ME, dry_run=False)
    assert (system / "tksva_q_web.service").exists()
    enabled = [line for line in (machine / "bin" / "called").read_text().splitlines() if line.startswith("enable")]
    # The queue's own unit was there before: the administrator may have disabled it.
    assert enabled == ["enable tksva_q.service", "enable tksva_q_web.service"]
    assert not (system / install.WORKER).exists()
    with (home / ".env").open("a") as env:
        env.write("BROKER_URL=amqp://host/\n")
    install.install(ME, dry_run=False)
    assert (system / f"{install.WORKER}.d" / "install.conf").exists()
    assert "worker" not in (machine / "bin" / "called").read_text()  # which of them start is somebody's choice


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.os, "geteuid", lambda: 1000)
    with pytest.raises(QueueError, match="root"):
        install.install(ME, dry_run=False)


@pytest.mark.parametrize("group", [MY_GROUP, str(os.getegid())])
def test_the_web_servers_group_goes_by_its_name_or_its_number(machine: Path, group: str) -> None:
    home = machine / "tksva_q"
    shutil.copy(home / ".envexample", home / ".env")
    fill(home)
    with (home / ".env").open("a") as env:
        env.write(f"FILES_GROUP={group}\n")
    install.install(ME, dry_run=False)
    assert (home / "files").stat().st_gid == os.getegid()


def test_a_command_that_fails_is_named_with_its_complaint(machine: Path) -> None:
    home = machine / "tksva_q"
    shutil.copy(home / ".envexample", home / ".env")
    fill(home)
    (machine / "bin" / "systemctl").write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
    with pytest.raises(QueueError, match="systemctl daemon-reload: no bus"):
        install.install(ME, dry_run=False)


def test_the_sample_of_the_settings_is_one_that_loads(machine: Path) -> None:
    assert settings_module.load(ROOT / ".envexample").embedded
