"""Units of systemd say what the definitions say."""

from __future__ import annotations

import datetime
import itertools
import os
import re
import subprocess
from pathlib import Path

import pytest

import attempts
from errors import SettingsError
from integrations.timers import definitions, units
from schedules import Schedule, slots
from tests import ROOT

BASE = datetime.datetime(2026, 1, 10, 9, 7, 30, tzinfo=datetime.UTC)
WEEK = datetime.timedelta(days=7)
COMPANY = definitions.load(ROOT / "schedules.toml")


def run(*words: str) -> str:
    done = subprocess.run(
        words, env=os.environ | {"TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_systemd_finds_nothing_wrong_with_them_and_a_second_time_gives_the_same_bytes(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in units.write(COMPANY, tmp_path)}
    assert len(first) == 10
    assert run("systemd-analyze", "verify", *map(str, first)) == ""
    assert {path: path.read_bytes() for path in units.write(COMPANY, tmp_path)} == first


def elapses(calendars: list[str], zone: str, count: int) -> list[datetime.datetime]:
    """When systemd would begin, the first `count` times after BASE."""
    found = set()
    for calendar in calendars:
        said = run(
            *("systemd-analyze", "calendar", f"--iterations={count}", f"--base-time={BASE:%Y-%m-%d %H:%M:%S} UTC"),
            f"{calendar} {zone}",
        )
        for text in re.findall(r"(?:elapse|Iter\. #\d+|Iteration #\d+): \w+ (\d+-\d+-\d+ \d+:\d+:\d+) UTC", said):
            found.add(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC))
    return sorted(found)[:count]


@pytest.mark.parametrize("name", COMPANY.timers)
def test_the_next_week_of_systemd_is_our_own(name: str) -> None:
    own = list(itertools.takewhile(lambda slot: slot < BASE + WEEK, slots(COMPANY.schedule(name), BASE)))
    assert len(own) >= 7
    assert elapses(units.calendars(COMPANY.timers[name].cron), COMPANY.zone, len(own)) == own


@pytest.mark.parametrize(
    "cron",
    [
        *("5-10/2 9-17 1,15 * *", "0 12 13 * 5", "30 * * * 1-5", "15 0 3 * * 0,7", "3/7 0 * 2-3 *"),
        *("0 0 */2 * 1", "0 6 1-7 * */3", "30 5 */10 * */2", "0 0 *,1 * 1"),  # both days have to hold
    ],
)
def test_other_lines_of_cron_mean_the_same_to_systemd(cron: str) -> None:
    own = list(itertools.islice(slots(Schedule("x", cron, "p", zone="Asia/Tokyo"), BASE), 40))
    assert elapses(units.calendars(cron), "Asia/Tokyo", 40) == own


@pytest.mark.parametrize("cron", ["* * * *", "61 * * * *", "L * * * *", "0 0 * JAN *", "*/0 * * * *"])
def test_what_systemd_cannot_say_is_refused(cron: str) -> None:
    with pytest.raises(SettingsError, match=f"^cron {re.escape(cron)}: "):
        units.calendars(cron)


@pytest.mark.parametrize("name", COMPANY.timers)
def test_a_service_has_time_for_all_attempts_and_their_pauses(name: str) -> None:
    service = units.files(COMPANY)[f"tksva_q_{name}.service"]
    limit = float(re.findall(r"TimeoutStartSec=(\S+)", service)[0])
    attempt = COMPANY.schedule(name).time_limit or 0
    longest = [attempts.pause(spent, COMPANY.retry_seconds) for spent in (1, 2, 3) for _ in range(20)]
    assert limit > 4 * attempt + max(longest[:20]) + max(longest[20:40]) + max(longest[40:])


def test_a_limit_of_days_is_written_in_whole_seconds() -> None:
    long = COMPANY.timers["qtickets"].model_copy(update={"time_limit": 7 * 86400.0})
    wanted = COMPANY.model_copy(update={"timers": {"long": long}})
    assert re.search(r"^TimeoutStartSec=2\d{6}$", units.files(wanted)["tksva_q_long.service"], re.MULTILINE)


def test_a_timer_says_the_definition() -> None:
    timer = units.files(COMPANY)["tksva_q_vk_ads.timer"].splitlines()
    assert {"RandomizedDelaySec=300", "Persistent=true", "WantedBy=timers.target"} <= set(timer)
    assert "OnCalendar=*-*-* 00:00:00 Europe/Moscow" in timer
    assert units.files(COMPANY.model_copy(update={"missed": "skip"}))["tksva_q_vk_ads.timer"].count("Persistent=false")
