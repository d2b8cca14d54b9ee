"""What the values of settings may look like, parser by parser."""

from __future__ import annotations

import grp
import time
from pathlib import Path

import pytest

import setting_values
from setting_values import parse_duration
from tests.waiting import BUSY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("6 h", 21600),
        ("6h", 21600),
        ("90 min", 5400),
        ("2 d", 172800),
        ("30 s", 30),
        ("1,5 ч", 5400),
        ("10 мин.", 600),
        ("72 hours", 259200),
        ("3 часа", 10800),
        ("24 часов", 86400),
        ("2 дня", 172800),
        ("1 day 12 Hours", 129600),
    ],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "6 parsecs", "1 2", "-5", "1..5", "six", "1" * 5000 + "!", "5 h ago"])
def test_what_is_no_duration_is_refused_at_once(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match="не длительность"):
        parse_duration(text)
    assert time.perf_counter() - started < 0.5 * BUSY


def test_a_number_without_a_unit_is_in_the_unit_of_its_setting() -> None:
    assert parse_duration("2", 3600) == 7200
    assert parse_duration("2 min", 3600) == 120


@pytest.mark.parametrize(("text", "number"), [("1", 1), (" 10 ", 10), ("+7", 7), (5, 5)])
def test_a_whole_number_within_its_limits_is_read(text: object, number: int) -> None:
    assert setting_values.whole(1, 10)(text) == number


def test_a_number_that_is_not_set_stays_so() -> None:
    assert setting_values.whole(1, 10)(None) is None


@pytest.mark.parametrize("text", ["0", "11", "-1"])
def test_a_number_outside_its_limits_is_told_both_of_them(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text} — не от 1 до 10$"):
        setting_values.whole(1, 10)(text)


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "0x10", "1_0", "десять", "9" * 19])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="не целое число"):
        setting_values.whole(1, 10)(text)


def test_a_long_value_is_shown_by_its_beginning_and_on_one_line() -> None:
    with pytest.raises(ValueError, match="не целое число") as told:
        setting_values.whole(1, 10)("a\nb" + "я" * 100)
    assert str(told.value).startswith("«a\\nbя")
    assert "…»" in str(told.value)
    assert len(str(told.value)) < 70


def test_a_duration_is_counted_in_the_unit_of_its_setting() -> None:
    hours = setting_values.duration(0, 48 * 3600, 3600)
    assert (hours("3"), hours(" 30 min "), hours("48"), hours("0")) == (3, 0.5, 48, 0)
    with pytest.raises(ValueError, match=r"^«49» — не от 0 до 48 ч$"):
        hours("49")


def test_a_duration_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="не от 1 до inf с"):
        setting_values.duration(1, float("inf"))("9" * 400)


@pytest.mark.parametrize(
    ("word", "on"),
    [(word, True) for word in ("1", "true", "Yes", "On", " вкл ", "ДА")]
    + [(word, False) for word in ("0", "False", "no", "off", "выкл", "нет")],
)
def test_a_switch_is_read_in_both_languages(word: str, *, on: bool) -> None:
    assert setting_values.switch(word) is on


@pytest.mark.parametrize("word", ["", "2", "наверное"])
def test_what_is_no_switch_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="не «on» и не «off»"):
        setting_values.switch(word)


@pytest.mark.parametrize("host", ["db.example", "10.0.0.1", "::1", "/run/postgresql", "@abstract"])
def test_names_addresses_and_sockets_are_hosts(host: str) -> None:
    assert setting_values.host_name(f" {host} ") == host


@pytest.mark.parametrize("host", ["postgresql://h", "u:hunter2@h", "two words"])
def test_an_url_is_no_host_and_is_not_shown(host: str) -> None:
    with pytest.raises(ValueError, match="а не URL") as told:
        setting_values.host_name(host)
    assert "hunter2" not in str(told.value)


def test_a_delimiter_is_any_other_sign_of_ascii_and_a_tab_can_be_written() -> None:
    assert [setting_values.delimiter(sign) for sign in (";", ",", "|", " ", "\t", "\\t")] == [*";,| ", "\t", "\t"]
    for sign in ("", ";;", "я", "a", "1", '"', "'", "\r", "\n", "\0"):
        with pytest.raises(ValueError, match="не один знак ASCII"):
            setting_values.delimiter(sign)


def test_a_level_is_known_in_any_case_and_by_its_short_name() -> None:
    assert [setting_values.level(word) for word in ("debug", " Info ", "warn", "CRITICAL")] == [
        "DEBUG",
        "INFO",
        "WARNING",
        "CRITICAL",
    ]
    with pytest.raises(ValueError, match="бывают DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        setting_values.level("loud")


def test_the_scheme_of_an_url_is_checked_and_the_rest_is_not_shown() -> None:
    broker = setting_values.url(*setting_values.BROKERS)
    assert broker(" amqp://u:p@h/ ") == "amqp://u:p@h/"
    assert broker(None) is None
    assert setting_values.url()("sqlite:///a.db") == "sqlite:///a.db"
    for wrong in ("u:hunter2@h", "http://u:hunter2@h", "://hunter2"):
        with pytest.raises(ValueError, match="схем") as told:
            broker(wrong)
        assert "hunter2" not in str(told.value)


def test_names_of_modules_are_a_list_without_repetitions() -> None:
    assert setting_values.module_names(" deals, timers,,deals ") == ("deals", "timers")
    assert setting_values.module_names("") == ()
    assert setting_values.module_names(("deals",)) == ("deals",)


@pytest.mark.parametrize("name", ["../evil", "Deals", "a.b", "1a", "сделки", "a b"])
def test_a_name_that_is_no_modules_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="не название модуля"):
        setting_values.module_names(name)


def test_an_address_of_mail_has_a_name_and_a_host() -> None:
    assert setting_values.address(" a.b@example.org ") == "a.b@example.org"
    for wrong in ("", "a", "@h", "a@", "a@b@c", "a b@h", "<a@h>", "a@h,b@h"):
        with pytest.raises(ValueError, match="не почтовый адрес"):
            setting_values.address(wrong)


def test_a_group_is_one_that_this_machine_knows_or_a_number() -> None:
    name = grp.getgrgid(0).gr_name
    assert setting_values.group_name(f" {name} ") == name
    assert setting_values.group_name("4321") == "4321"
    assert setting_values.group_name("  ") is None
    with pytest.raises(ValueError, match="«no-such-group» на этой машине нет"):
        setting_values.group_name("no-such-group")


def test_a_folder_is_absolute_and_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/очередь")
    assert setting_values.folder(" a/../b ") == tmp_path / "b"
    assert setting_values.folder("~/файлы") == Path("/home/очередь/файлы")


def test_the_home_of_nobody_is_no_folder() -> None:
    with pytest.raises(ValueError, match="«~nobody-of-that-name/x» — такого пользователя"):
        setting_values.folder("~nobody-of-that-name/x")
