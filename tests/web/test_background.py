"""Checks that may hang: nobody waits for them long, and what is shown is what was last found."""

from __future__ import annotations

import os
import re
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from errors import WarehouseError
from findings import Finding
from settings import Settings
from tests.daemons import make_settings
from tests.database import TABLE, Queries
from tests.waiting import wait_for
from web import background
from web.background import BackgroundCheck, disk_check, warehouse_check
from words import NARROWLY

FINE = Finding("x", True, "всё хорошо")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no check that hangs."""
    monkeypatch.setattr(background, "GRACE_SECONDS", 30.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass, for the checks only."""
    passed = 0.0
    real = background.time.monotonic

    def go_on(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(background, "time", types.SimpleNamespace(monotonic=lambda: real() + passed))
    return go_on


# --- when it runs -----------------------------------------------------------------------------------------------------


def test_a_finding_is_good_for_a_while_and_then_found_anew(clock: Callable[[float], None]) -> None:
    found = iter([FINE, Finding("x", False, "плохо")])
    check = BackgroundCheck("x", lambda: next(found))
    assert [check().text, check().text] == ["всё хорошо", "всё хорошо"]
    clock(background.FRESH_SECONDS - 1)
    assert check().ok
    clock(2)
    assert check().text == "плохо"


def test_nobody_waits_for_a_check_that_hangs(monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]) -> None:
    monkeypatch.setattr(background, "GRACE_SECONDS", 0.05)
    go, calls = threading.Event(), []

    def hang() -> Finding:
        calls.append(1)
        go.wait(60)
        return FINE

    check = BackgroundCheck("x", hang)
    hanging = check()
    assert not hanging.ok
    assert re.fullmatch(r"не отвечает \d+ с", hanging.text)
    clock(1000)
    assert re.fullmatch(r"не отвечает 10\d\d с", check().text)
    assert len(calls) == 1  # it is not begun again while it hangs
    go.set()
    assert check._thread
    check._thread.join(30)
    assert check().text == "всё хорошо"


def test_however_many_ask_it_runs_once() -> None:
    go, calls = threading.Event(), []

    def slow() -> Finding:
        calls.append(1)
        go.wait(0.2)
        return FINE

    check = BackgroundCheck("x", slow)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: check().text, range(8)))
    assert answers == ["всё хорошо"] * 8
    assert len(calls) == 1


# --- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WarehouseError("no way to\n postgresql://user:s3cret-word@host/db"), "no way to postgresql://"),
        (OSError("диск\nушёл"), "диск ушёл"),
        (ZeroDivisionError("s3cret"), "ZeroDivisionError: s3cret"),
    ],
)
def test_a_check_that_fails_is_a_finding_in_one_line_without_passwords(error: Exception, text: str) -> None:
    def fail() -> Finding:
        raise error

    found = BackgroundCheck("x", fail)()
    assert not found.ok
    assert text in found.text
    assert "\n" not in found.text
    assert "s3cret-word" not in found.text


def test_an_error_that_nobody_foresaw_does_not_leave_the_old_finding_standing(clock: Callable[[float], None]) -> None:
    answers = iter([FINE])
    check = BackgroundCheck("x", lambda: next(answers))  # the second time: StopIteration
    assert check().ok
    clock(background.FRESH_SECONDS + 1)
    assert not check().ok


# --- the warehouse ----------------------------------------------------------------------------------------------------


def test_the_warehouse_is_asked_for_every_table_that_a_form_reads(database: str, tmp_path: Path) -> None:
    assert warehouse_check(make_settings(database, tmp_path)) == Finding("хранилище", True, f"{TABLE}: столбцов 9")


def test_a_warehouse_without_the_table_is_not_well(database: str, tmp_path: Path, sql: Queries) -> None:
    sql(f"DROP TABLE {TABLE}")
    check = BackgroundCheck("warehouse", lambda: warehouse_check(make_settings(database, tmp_path)))
    assert not check().ok
    assert TABLE in check().text
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    wait_for(lambda: sql.value(ours) == 1)  # no connection was left behind


# --- the disk ---------------------------------------------------------------------------------------------------------


def disk(monkeypatch: pytest.MonkeyPatch, free: int, size: int) -> None:
    room = types.SimpleNamespace(f_bavail=free, f_blocks=size, f_frsize=1, f_bfree=size)
    monkeypatch.setattr(os, "statvfs", lambda path: room)


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    found = disk_check(Settings(files_dir=tmp_path / "not" / "yet"))
    assert found.ok
    assert "ГБ" in found.text


def test_a_disk_with_little_room_is_not_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk(monkeypatch, 1 << 20, 1 << 40)
    assert not disk_check(Settings(var_dir=tmp_path)).ok


def test_the_room_is_told_in_bytes_and_in_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk(monkeypatch, 25 * 10**9, 100 * 10**9)
    assert disk_check(Settings(var_dir=tmp_path)).text == f"свободно 25,0{NARROWLY}ГБ, 25%"


def test_a_folder_that_nobody_may_write_to_is_not_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    assert not disk_check(Settings(var_dir=tmp_path)).ok
