"""The embedded server after a kill, a power cut, or whatever else cut it short."""

import os
import shutil
import signal
import time

from embedded import embedded_dsn
from tests.embedded_users import User, ask, ended, postmaster, var, warm
from tests.waiting import BUSY

__all__ = ["var", "warm"]  # fixtures


def test_the_server_stops_after_a_user_that_was_killed(warm):
    with User(warm) as user:
        user.dsn()
        server = postmaster(warm)
        user.process.kill()
        user.end()
        assert ended(server)
    assert not (warm / "postgres" / "postmaster.pid").exists()


def test_the_next_start_after_a_kill_takes_less_than_two_seconds(warm):
    with User(warm) as user:
        user.dsn()
        user.process.kill()
        user.end()
    started = time.perf_counter()
    assert ask(embedded_dsn(warm), "SELECT n FROM kept") == 1
    assert time.perf_counter() - started < 2 * BUSY


def test_a_server_that_was_killed_itself_is_started_again_with_what_was_committed(warm):
    dsn = embedded_dsn(warm)
    ask(dsn, "INSERT INTO kept VALUES (2)")
    server = postmaster(warm)
    server.send_signal(signal.SIGKILL)
    assert ended(server)
    started = time.perf_counter()
    assert ask(embedded_dsn(warm), "SELECT sum(n) FROM kept") == 3
    assert time.perf_counter() - started < 5 * BUSY


def test_a_server_that_is_stopped_by_the_users_of_another_start_is_joined_again(warm):
    """Eight short lives: each either joins the server or waits for the end of the one before."""
    for _ in range(4):
        with User(warm) as one, User(warm) as two:
            assert one.dsn() == two.dsn()
            one.process.kill()
            one.end()


def test_a_folder_whose_making_was_cut_short_is_made_again(var):
    half = var / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert ask(embedded_dsn(var), "SELECT 1") == 1


def test_a_pid_that_another_program_has_now_is_no_hindrance(warm):
    """As after a power cut: the file stayed, and its pid was given out again."""
    (warm / "postgres" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{warm}/postgres\n1\n5432\n{warm}\n\n1 1\nready\n"
    )
    assert ask(embedded_dsn(warm), "SELECT n FROM kept") == 1


def test_an_empty_pid_file_is_no_hindrance(warm):
    (warm / "postgres" / "postmaster.pid").touch()
    assert ask(embedded_dsn(warm), "SELECT n FROM kept") == 1


def test_a_copy_of_the_folder_is_a_server_of_its_own(warm, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(warm, copy)
    if os.geteuid() == 0:
        owner = (warm / "postgres").stat()
        for path in (copy / "postgres", *(copy / "postgres").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    original = embedded_dsn(warm)
    shutil.copy(warm / "postgres" / "postmaster.pid", copy / "postgres")
    with User(copy) as user:
        dsn = user.dsn()
        ask(dsn, "INSERT INTO kept VALUES (2)")
        assert postmaster(copy) != postmaster(warm)
    assert ask(original, "SELECT count(*) FROM kept") == 1
