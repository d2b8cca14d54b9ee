"""Numbers, times and names as a Russian reader writes them."""

from __future__ import annotations

import re
import types
from datetime import UTC, datetime
from typing import get_args

import pytest

import words
from jobs import State
from web.models import JobAttempt
from words import NARROWLY, THIN, count, duration, moment, size, speed, thousands


def plain(text: str) -> str:
    """The text with usual spaces."""
    return text.replace(THIN, " ").replace(NARROWLY, " ")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "—"),
        (0, "0"),
        (999, "999"),
        (1000, "1 000"),
        (1234567, "1 234 567"),
        (-1500, "-1 500"),
        (1499.6, "1 500"),
    ],
)
def test_thousands_stand_apart(number: float | None, text: str) -> None:
    assert plain(thousands(number)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "—"),
        (0, "0 байт"),
        (999, "999 байт"),
        (1000, "1,0 КБ"),
        (12_345_678, "12,3 МБ"),
        (999_949, "999,9 КБ"),
        (999_950, "1,0 МБ"),
        (999_999_999, "1,0 ГБ"),
        (5 * 10**15, "5000,0 ТБ"),
    ],
)
def test_a_size_has_one_figure_behind_its_comma(number: int | None, text: str) -> None:
    assert plain(size(number)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-3, "0,0 с"),
        (0, "0,0 с"),
        (4.24, "4,2 с"),
        (9.94, "9,9 с"),
        (9.97, "10 с"),
        (59.4, "59 с"),
        (59.6, "1 мин 00 с"),
        (200, "3 мин 20 с"),
        (3599.6, "1 ч 00 мин"),
        (7500, "2 ч 05 мин"),
        (86_399.9, "1 д 0 ч"),
        (200_000, "2 д 7 ч"),
    ],
)
def test_a_length_of_time_is_told_in_two_units(seconds: float | None, text: str) -> None:
    assert plain(duration(seconds)) == text


def test_every_state_and_every_end_of_an_attempt_has_a_word() -> None:
    assert set(words.STATE_NAMES) == set(get_args(State))
    outcomes = JobAttempt.model_fields["outcome"].annotation
    assert set(words.OUTCOMES) == set(re.findall(r"'([a-z ]+)'", str(outcomes)))


def test_a_speed_is_in_rows_a_second() -> None:
    assert plain(speed(12_300.4)) == "12 300 строк/с"
    assert speed(None) == ""


def test_no_line_ends_within_a_number_or_before_its_unit() -> None:
    for text in (size(12_345_678), duration(7500), speed(12_300), thousands(1_234_567)):
        assert " " not in text


@pytest.mark.parametrize(
    ("word", "numbers"),
    [
        ("строка", (1, 21, 101, 1001)),
        ("строки", (2, 3, 4, 22, 104)),
        ("строк", (0, 5, 10, 11, 12, 13, 14, 19, 20, 25, 111, 112, 1014)),
    ],
)
def test_a_noun_agrees_with_its_number(word: str, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        assert plain(count(number, "строка", "строки", "строк")) == f"{plain(thousands(number))} {word}"


def test_a_time_of_today_needs_no_date(monkeypatch: pytest.MonkeyPatch) -> None:
    class Afternoon(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Afternoon:
            return cls(2024, 1, 31, 15)

    monkeypatch.setattr(words, "datetime", types.SimpleNamespace(datetime=Afternoon))
    noon = datetime(2024, 1, 31, 12, 3, 4)
    assert moment(noon) == moment(noon.astimezone()) == "12:03:04"
    assert moment(noon.replace(day=30)) == "30.01.2024 12:03"
    assert moment(noon.replace(year=2023)) == "31.01.2023 12:03"
    assert moment(None) == "—"


def test_a_time_of_another_zone_is_told_in_this_machines() -> None:
    utc = datetime(2024, 1, 31, 23, 59, tzinfo=UTC)
    assert moment(utc) == f"{utc.astimezone():%d.%m.%Y %H:%M}"
