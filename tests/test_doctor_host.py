"""What the queue stands on that is of this machine: the folder, the web server's group, the units."""

from __future__ import annotations

import grp
import multiprocessing
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import disk
import doctor_host
import install
import settings as settings_module
from doctor_host import Identity, service
from settings import Settings
from tests.daemons import make_settings
from tests.examination import Examine, bad, examine, files, machine, only
from tests.waiting import PATIENCE

__all__ = ["examine", "files", "machine"]  # fixtures

pytestmark = pytest.mark.usefixtures("machine")

#: A user and a group that own nothing, on every Debian.
NOBODY = 65534


# --- whose rights count -----------------------------------------------------------------------------------------------


def test_whoever_asks_is_looked_at_unless_root_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY)
    assert service() == Identity("nobody", NOBODY, NOBODY, tuple(os.getgroups()))


def test_a_user_without_a_name_goes_by_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert service().name == "54321"


def test_root_looks_at_the_units_user_with_the_units_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    groups = {grp.getgrnam(name).gr_gid for name in ("mail", "news")}
    shown = {"User": "daemon", "SupplementaryGroups": f"mail {grp.getgrnam('news').gr_gid} no-such-group"}
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: shown)
    daemon = pwd.getpwnam("daemon")
    assert service() == Identity("daemon", daemon.pw_uid, daemon.pw_gid, tuple(sorted(groups)))


def test_root_looks_at_himself_where_the_units_user_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: {"User": "no-such-user"})
    assert (service().name, service().uid) == ("root", 0)


def test_an_interpreter_that_the_service_cannot_start_is_found(
    database: str, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    hidden = tmp_path / "hidden" / "python"
    hidden.parent.mkdir(mode=0o700)
    hidden.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(hidden))
    found = doctor_host.folder(
        make_settings(database, tmp_path, FILES_DIR=files), Identity("nobody", NOBODY, NOBODY, ())
    )
    assert not found.ok
    assert f"пользователь nobody не может запустить {hidden}" in found.text


# --- the folder -------------------------------------------------------------------------------------------------------


def as_stranger(look: Callable[[], str]) -> str:
    """Call a function as a user who owns nothing; where the tests are not root's, as the tester."""
    if os.geteuid() != 0:
        return look()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def fall() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        theirs.send(look())

    process = context.Process(target=fall)
    process.start()
    process.join(PATIENCE)
    return str(ours.recv())


def test_a_folder_that_the_service_cannot_write_to_is_found(files: Path) -> None:
    files.chmod(0o555)
    said = as_stranger(lambda: doctor_host.probe(files, None))
    assert "не может сюда писать" in said
    assert f"sudo install -d -o {doctor_host._name(NOBODY if os.geteuid() == 0 else os.geteuid())}" in said


def test_a_folder_that_the_service_cannot_make_is_found(files: Path) -> None:
    files.chmod(0o555)
    assert "не создаст" in as_stranger(lambda: doctor_host.probe(files / "deeper" / "still", None))


def test_a_folder_that_will_be_made_is_no_fault(examine: Examine, files: Path) -> None:
    files.rmdir()
    assert all(finding.ok for finding in examine().values())


def test_a_service_that_is_not_in_the_web_servers_group_is_found(files: Path) -> None:
    files.chmod(0o777)
    assert "не состоит в группе daemon" in as_stranger(lambda: doctor_host.probe(files, "daemon"))


def test_users_folders_of_an_older_queue_are_found(files: Path) -> None:
    files.chmod(0o777)
    for user in range(1, 9):
        (files / str(user)).mkdir(mode=0o555)
    (files / "not a user's").mkdir(mode=0o555)
    said = as_stranger(lambda: doctor_host.probe(files, None))
    assert "не может писать в папки" in said
    assert said.count(",") == doctor_host.NAMED - 1
    assert "manage.py install" in said


def test_the_probe_leaves_nothing_behind(files: Path) -> None:
    assert doctor_host.probe(files, str(os.getegid())) == ""
    assert list(files.iterdir()) == []


def test_root_looks_with_the_services_own_rights(database: str, tmp_path: Path, files: Path) -> None:
    nobody = Identity("nobody", NOBODY, NOBODY, ())
    settings = make_settings(database, tmp_path, FILES_DIR=files)
    if os.geteuid() == 0:
        files.chmod(0o700)
        assert not doctor_host.folder(settings, nobody).ok
    assert doctor_host.folder(settings, Identity("me", os.geteuid(), os.getegid(), ())).ok


def test_little_space_is_found(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LEAST_BYTES", 1 << 62)
    monkeypatch.setattr(disk, "LEAST_SHARE", 1.1)
    only(examine(), "папка", "свободно", "purge")


# --- the web server ---------------------------------------------------------------------------------------------------


def test_a_folder_that_the_web_servers_group_cannot_pass_is_found(examine: Examine, files: Path) -> None:
    files.chmod(0o2700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"не пройдёт через {files}", f"chmod g+x {files}")
    files.chmod(0o2750)
    files.parent.chmod(0o700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"не пройдёт через {files.parent}")


def test_users_folders_that_the_group_cannot_read_are_found(examine: Examine, files: Path) -> None:
    (files / "7").mkdir(mode=0o700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"{files}/7", "g+rX")


def test_a_group_that_owns_nothing_passes_where_others_do(files: Path, database: str, tmp_path: Path) -> None:
    me = Identity("me", os.geteuid(), os.getegid(), ())
    settings = make_settings(database, tmp_path, FILES_DIR=files, FILES_GROUP=NOBODY)
    assert "chgrp" in doctor_host.web_server(settings, me).text
    files.chmod(0o2751)
    assert doctor_host.web_server(settings, me).ok


# --- the units --------------------------------------------------------------------------------------------------------


def test_units_that_are_missing_stale_or_stopped_are_found(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    state = {"User": "tksva_q", "ActiveState": "active", "NeedDaemonReload": "no"}
    monkeypatch.setattr(install, "SYSTEM", system)
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: dict(state))
    only(examine(), "службы", "tksva_q.service", "manage.py install")
    settings = settings_module.load(tmp_path / "no.env")
    for path, text in install.unit_files(settings, "tksva_q").items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert examine()["службы"].ok
    state["NeedDaemonReload"] = "yes"
    only(examine(), "службы", "daemon-reload")
    state.update(NeedDaemonReload="no", ActiveState="failed")
    only(examine(), "службы", "systemctl start", "journalctl")
    bad(examine(FILES_GROUP=os.getegid()), "службы", "install.conf")
    state.update(UnitFileState="disabled")
    only(examine(), "службы", "systemctl start")  # it has failed: somebody wanted it to run
    state.update(ActiveState="inactive")
    found = examine()["службы"]
    assert (found.ok, found.text) == (True, "tksva_q.service (отключена), tksva_q_web.service (отключена)")


def test_the_embedded_default_needs_neither_units_nor_a_web_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: {"ActiveState": "inactive"})
    settings = Settings(var_dir=tmp_path)
    assert [finding.ok for finding in doctor_host.examine(settings)] == [True, True, True]
