"""Pictures of numbers: every bar stands inside its drawing and says what it shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counters import Hour
from reports import ExportPage
from tests.records import export_page
from web import charts
from web.charts import HEIGHT, MOST_BARS, VISIBLE, WIDTH, Bar
from words import NARROWLY, THIN

BEGIN = datetime(2024, 1, 31, tzinfo=UTC)


def hour(number: int = 0, done: int = 0, failed: int = 0, cancelled: int = 0, waited: float = 0) -> Hour:
    return Hour(BEGIN + timedelta(hours=number), done, failed, cancelled, waited, waited * 2)


def clock(number: int) -> str:
    """The hour as this machine's reader knows it."""
    return f"{(BEGIN + timedelta(hours=number)).astimezone():%H}:00"


def text(bar: Bar) -> str:
    return bar.text.replace(THIN, " ").replace(NARROWLY, " ")


def inside(bars: list[Bar], height: float = HEIGHT) -> bool:
    return all(
        bar.x >= 0
        and bar.width > 0
        and bar.x + bar.width <= WIDTH
        and 0 <= bar.y
        and bar.y + bar.height <= height + 1e-6
        for bar in bars
    )


# --- jobs of the day --------------------------------------------------------------------------------------------------


def test_the_ends_of_an_hour_stand_on_each_other_in_their_order() -> None:
    done, failed, cancelled = charts.day([hour(5, done=6, failed=3, cancelled=1)])
    assert [bar.kind for bar in (done, failed, cancelled)] == ["ok", "bad", "off"]
    assert [text(bar) for bar in (done, failed, cancelled)] == [
        f"{clock(5)} — 6 готово",
        f"{clock(5)} — 3 ошибки",
        f"{clock(5)} — 1 отменено",
    ]
    assert done.y + done.height == HEIGHT
    assert failed.y + failed.height == pytest.approx(done.y)
    assert cancelled.y + cancelled.height == pytest.approx(failed.y)
    assert done.height == pytest.approx(2 * failed.height)


def test_the_fullest_hour_is_the_highest_and_an_empty_one_has_no_bar() -> None:
    low, high = charts.day([hour(0, done=1), hour(1), hour(2, done=4)])
    assert high.height == pytest.approx(4 * low.height)
    assert (low.x, high.x) == (2, 2 * WIDTH / 3 + 2)


def test_one_failure_among_thousands_is_seen() -> None:
    _, failed = charts.day([hour(0, done=100_000, failed=1)])
    assert failed.height == VISIBLE


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 10**6)] * 3), max_size=24))
def test_no_bar_of_the_day_leaves_the_drawing(numbers: list[tuple[int, int, int]]) -> None:
    bars = charts.day([hour(place, *ended) for place, ended in enumerate(numbers)])
    assert inside(bars)
    assert len(bars) == sum(1 for ended in numbers for number in ended if number)


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_wait_is_told_with_its_average_and_its_longest() -> None:
    [short, long] = charts.waiting([hour(0, waited=20), hour(1), hour(2, waited=100)])
    assert text(long) == f"{clock(2)} — в среднем 1 мин 40 с, дольше всех 3 мин 20 с"
    assert long.height == pytest.approx(5 * short.height)
    assert long.kind == "wait"


@settings(deadline=None)
@given(st.lists(st.floats(0, 10**7), max_size=24))
def test_no_bar_of_the_waits_leaves_its_half(waits: list[float]) -> None:
    assert inside(charts.waiting([hour(place, waited=waited) for place, waited in enumerate(waits)]), HEIGHT / 2)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_a_page_is_as_high_as_it_was_quick() -> None:
    slow, quick = charts.pages([export_page(1, 100, 2.0), export_page(2, 100, 0.5)])
    assert quick.height == pytest.approx(4 * slow.height)
    assert [text(bar) for bar in (slow, quick)] == ["страница 1: 50 строк/с", "страница 2: 200 строк/с"]


def test_a_page_whose_whole_length_is_not_known_took_what_its_steps_did() -> None:
    [bar] = charts.pages([export_page(1, 100, steps={"fetch": 0.5, "write": 1.5})])
    assert text(bar) == "страница 1: 50 строк/с"


def test_many_pages_are_put_together_by_their_rows_and_seconds() -> None:
    bars = charts.pages([export_page(number, 100, 1.0 if number % 2 else 3.0) for number in range(1, 181)])
    assert len(bars) == MOST_BARS
    assert text(bars[0]) == "страница 1–2: 50 строк/с"
    assert text(bars[-1]).startswith("страница 179–180: ")
    assert {bar.height for bar in bars} == {HEIGHT - 6}


def test_a_few_pages_do_not_become_as_broad_as_the_drawing() -> None:
    [bar] = charts.pages([export_page(1)])
    assert bar.width <= WIDTH / 12


@settings(deadline=None)
@given(st.lists(st.builds(export_page, st.integers(1, 9999), st.integers(0, 10**6), st.floats(0, 3600)), max_size=400))
def test_no_bar_of_the_pages_leaves_the_drawing(written: list[ExportPage]) -> None:
    bars = charts.pages(written)
    assert inside(bars)
    assert len(bars) <= MOST_BARS
    assert all(left.x + left.width <= right.x for left, right in pairwise(bars))


def test_of_nothing_there_is_no_picture() -> None:
    assert charts.day([]) == charts.waiting([]) == charts.pages([]) == []
