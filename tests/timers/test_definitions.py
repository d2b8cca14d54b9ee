"""`schedules.toml`: what the company runs, and what is said where it makes no sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from errors import SettingsError
from integrations.timers import definitions
from tests import ROOT
from tests.timers.conftest import Define

REST = "job = 'a'\ncommand = ['a']\ncron = '* * * * *'\ntime_limit = 1\n"


def test_the_definitions_are_those_of_the_company() -> None:
    wanted = definitions.load(ROOT / "schedules.toml")
    assert {
        name: (one.job, one.cron, one.jitter, one.time_limit, one.enabled) for name, one in wanted.timers.items()
    } == {
        "qtickets": ("qtickets_loader", "*/15 * * * *", 60, 300, True),
        "vk_ads": ("vk_ads_loader", "0 0 * * *", 300, 600, True),
        "direct": ("direct_loader", "10 0 * * *", 300, 600, True),
        "gmail": ("gmail_loader", "0 0,4,8,12,16,20 * * *", 300, 300, False),
        "alerts": ("alerts", "0 */2 * * *", 300, 300, True),
    }
    assert wanted.timers["alerts"].command[-3:] == ("timers", "check", "--report")
    one = wanted.schedule("qtickets")
    assert (one.zone, one.missed, one.overlap, one.max_attempts, one.pause_seconds) == (
        "Europe/Moscow",
        "once",
        "skip",
        4,
        30,
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "timers: не задан"),
        ("zone = 'Mars'\n[timers]", "zone: нет такого часового пояса"),
        ("[timers.a]\njob = 'a'", "timers.a.command: не задан"),
        ("[timers.a]\njob = 'a'\ncommand = []\ncron = '* * * * *'\ntime_limit = 1", "timers.a.command: пусто"),
        ("[", "не TOML"),
        ("zone = 1\n[timers]", "zone: "),
        ("[timers.A]", "timers.A"),
        ("retries = -1\n[timers]", "retries: не подходит"),
        ("mised = 'all'\n[timers]", "mised: такого ключа нет"),
        (f"[timers.{definitions.WATCH}]\n{REST}", f"timers.{definitions.WATCH}: это имя занято"),
        (f"[timers.a]\n{REST}reserve_of = 'b'", "timers.a.reserve_of: нет таймера b"),
        (
            f"[timers.a]\n{REST.replace('* * * * *', '61 * * * *')}",
            "timers.a.cron: cron '61 * * * *': Bad minute; пример",
        ),
        (f"[timers.a]\n{REST.replace('* * * * *', '* * *')}", "timers.a.cron: cron '* * *': нет такого времени"),
        (f"[timers.a]\n{REST.replace('* * * * *', '0 0 30 2 *')}", "timers.a.cron: cron '0 0 30 2 *': "),
    ],
)
def test_definitions_that_make_no_sense_are_one_line(define: Define, text: str, problem: str) -> None:
    path = define(text)
    with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}: {re.escape(problem)}.*$"):
        definitions.load()


def test_paths_are_meant_from_the_folder_of_the_file_and_bare_names_from_the_path(define: Define) -> None:
    path = define(
        '[timers.a]\njob = "a"\ncommand = ["bin/load", "x/y"]\ncron = "* * * * *"\ntime_limit = 1\n'
        'env_file = "a.env"\nfolder = "work"\n'
        '[timers.b]\njob = "b"\ncommand = ["load"]\ncron = "* * * * *"\ntime_limit = 1\nfolder = "/srv"\n'
    )
    wanted, here = definitions.load().timers, path.parent
    a, b = wanted["a"], wanted["b"]
    assert (a.command, a.env_file, a.folder) == ((str(here / "bin/load"), "x/y"), here / "a.env", here / "work")
    assert (b.command, b.env_file, b.folder) == (("load",), None, Path("/srv"))


def test_the_queue_leaves_a_run_time_to_end_its_command_and_watches_every_minute(define: Define) -> None:
    define('[timers.a]\njob = "a"\ncommand = ["a"]\ncron = "0 0 * * *"\ntime_limit = 60\n')
    one, watch = definitions.all_schedules()
    assert (one.name, one.processing, one.params) == ("a", "timer", {"timer": "a"})
    assert one.time_limit == 60 + definitions.GRACE_SECONDS
    assert (watch.name, watch.cron, watch.missed) == (definitions.WATCH, "* * * * *", "skip")
