"""How an attempt ends: who is tried again, when, and at whose cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attempts
from attempts import CANCELLED, RowsChanged, after_error, after_fault, after_loss
from db import DatabaseAway
from errors import Cancelled, Interrupted, LostJob, QueueError, StorageError, UserError, WarehouseError
from tests.records import claimed

MAX = 5
PAGE = 50_000


@pytest.mark.parametrize("error", [LostJob("somebody else has it"), DatabaseAway("gone")])
def test_what_is_not_this_workers_to_write_has_no_end_here(error: QueueError) -> None:
    assert after_error(claimed(), error, MAX, PAGE) is None


def test_the_users_mistake_fails_at_once_whatever_is_left() -> None:
    end = after_error(claimed(), UserError("нет поля"), MAX, PAGE)
    assert end is not None
    assert (end.state, end.outcome, end.reason) == ("failed", "failed", "нет поля")


def test_an_interrupted_attempt_is_given_back_at_no_cost_and_at_once() -> None:
    end = after_error(claimed(spent=MAX), Interrupted("the worker stops"), MAX, PAGE)
    assert end is not None
    assert (end.state, end.outcome, end.refund, end.delay, end.restart) == ("waiting", "given back", True, 0, False)


def test_a_cancelled_attempt_is_cancelled() -> None:
    end = after_error(claimed(), Cancelled("строка скрыта"), MAX, PAGE)
    assert end is not None
    assert (end.state, end.outcome, end.reason) == ("cancelled", "cancelled", "строка скрыта")


@pytest.mark.parametrize(
    ("error", "restart"),
    [
        (WarehouseError("away"), False),  # the part file stays: the job goes on from its last page
        (RowsChanged("counted 5, gave 6"), True),
        (StorageError("disk full"), True),
        (KeyError("a mistake of ours"), False),
    ],
)
def test_a_fault_that_may_pass_is_tried_again(error: Exception, restart: bool) -> None:
    end = after_error(claimed(spent=MAX - 1), error, MAX, PAGE)
    assert end is not None
    assert (end.state, end.outcome, end.refund, end.restart) == ("waiting", "retry", False, restart)
    assert end.delay > 0
    assert end.chunk_size is None


@pytest.mark.parametrize(
    "error", [WarehouseError("away"), RowsChanged("…"), StorageError("…"), MemoryError(), OSError()]
)
def test_after_the_last_attempt_it_has_failed(error: Exception) -> None:
    end = after_error(claimed(spent=MAX), error, MAX, PAGE)
    assert end is not None
    assert (end.state, end.outcome) == ("failed", "failed")
    assert end.reason


def test_out_of_memory_halves_the_page() -> None:
    end = after_error(claimed(), MemoryError(), MAX, PAGE)
    assert end is not None
    assert (end.state, end.reason, end.chunk_size) == ("waiting", "out of memory", PAGE // 2)


@pytest.mark.parametrize(("page", "smaller"), [(50_000, 25_000), (1001, 500), (1000, 500), (999, 500), (500, 500)])
def test_a_page_is_halved_down_to_a_sensible_one(page: int, smaller: int) -> None:
    assert attempts.smaller(page) == smaller


@pytest.mark.parametrize("page", [1, 100, 499])
def test_a_page_that_is_small_already_stays(page: int) -> None:
    assert attempts.smaller(page) == page


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (WarehouseError("two\nlines"), "two lines"),
        (UserError("a \0 and half a pair \udc00"), "a \\x00 and half a pair \\udc00"),
    ],
)
def test_the_reason_is_one_line_that_the_database_can_store(error: Exception, reason: str) -> None:
    end = after_error(claimed(), error, MAX, PAGE)
    assert end is not None
    assert end.reason == reason


def test_pauses_grow_up_to_their_limit_and_are_never_the_same_for_two() -> None:
    delays = [after_fault(claimed(spent=spent), "…", 10).delay for spent in range(1, 9)]
    for delay, expected in zip(delays, [5, 20, 80, 320, 900, 900, 900, 900], strict=True):
        assert expected * 0.8 <= delay <= expected * 1.2
    assert len({attempts.pause(1) for _ in range(20)}) > 1


@given(st.integers(1, 1000))
def test_a_pause_is_sensible_after_as_many_attempts_as_the_settings_allow(spent: int) -> None:
    assert 0 < attempts.pause(spent) <= attempts.PAUSE_LIMIT * 1.2


def test_a_loss_costs_nothing_where_the_job_had_moved() -> None:
    end = after_loss(claimed(spent=MAX, rows=20, rows_at_claim=10), "the worker died", MAX)
    assert (end.state, end.outcome, end.refund, end.reason) == ("waiting", "given back", True, "the worker died")


def test_a_loss_costs_the_attempt_where_it_had_not() -> None:
    end = after_loss(claimed(spent=MAX - 1, rows=10, rows_at_claim=10), "the worker died", MAX)
    assert (end.state, end.outcome, end.refund) == ("waiting", "given back", False)


def test_a_job_that_takes_its_worker_down_each_time_fails_in_the_end() -> None:
    end = after_loss(claimed(spent=MAX), "the worker died", MAX)
    assert (end.state, end.outcome, end.reason) == ("failed", "failed", "the worker died")


def test_a_job_that_was_cancelled_meanwhile_is_cancelled_by_the_loss() -> None:
    assert after_loss(claimed(cancel=True, rows=5), "the worker died", MAX) == CANCELLED


def test_the_pauses_of_all_attempts_together_are_never_longer_than_it_is_said() -> None:
    for attempts_, first in ((1, 30.0), (4, 30.0), (6, None), (3, 5000.0)):
        longest = attempts.longest_pauses(attempts_, first)
        taken = [sum(attempts.pause(spent, first) for spent in range(1, attempts_)) for _ in range(200)]
        assert longest * 0.6 <= max(taken, default=0) <= longest


def test_an_error_of_our_own_is_told_without_the_name_of_its_class() -> None:
    end = attempts.after_error(claimed(), QueueError("код выхода 3"), 5, 1000)
    assert end is not None
    assert (end.state, end.reason) == ("waiting", "код выхода 3")
