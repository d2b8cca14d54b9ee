"""Every error's class says how the job ends: here it is asked of `attempts`, which ends it."""

from __future__ import annotations

import pytest

import errors
from attempts import STORE_PAUSE_LIMIT, after_error
from errors import (
    Cancelled,
    Interrupted,
    LostJob,
    Postponed,
    QueueError,
    SettingsError,
    StorageError,
    StoreAway,
    StoreError,
    StoreRefused,
    UserError,
    WarehouseError,
)
from jobs import Settlement
from tests.records import claimed


def end(error: QueueError, attempts: int = 5) -> Settlement | None:
    return after_error(claimed(), error, attempts, page=50_000)


def test_every_error_has_the_one_root_and_says_what_it_means() -> None:
    own = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    assert LostJob in own
    assert all(issubclass(kind, QueueError) and kind.__doc__ for kind in own)


def test_no_error_is_a_kind_of_another_that_ends_differently() -> None:
    kinds = [UserError, WarehouseError, StorageError, SettingsError, LostJob, Interrupted, Cancelled, Postponed]
    assert [kind.__bases__ for kind in kinds] == [(QueueError,)] * len(kinds)
    assert [kind.__bases__ for kind in (StoreAway, StoreRefused)] == [(StoreError,)] * 2


def test_a_job_that_lacks_something_waits_for_it_without_spending_an_attempt() -> None:
    wanted = Settlement("waiting", "given back", "никого нет", delay=60.0, refund=True)
    assert end(Postponed("никого нет", 60.0)) == wanted
    assert end(Postponed("никого нет", 60.0), attempts=1) == wanted


def test_a_job_that_waits_for_the_store_spends_no_attempt_either() -> None:
    waits = end(StoreAway("не отвечает"), attempts=1)
    assert waits
    assert (waits.state, waits.outcome, waits.refund) == ("waiting", "given back", True)
    assert 0 < waits.delay <= STORE_PAUSE_LIMIT


def test_the_users_mistake_fails_the_job_at_once() -> None:
    assert end(UserError("станция: пусто")) == Settlement("failed", "failed", "станция: пусто")


@pytest.mark.parametrize("kind", [WarehouseError, StorageError, StoreRefused])
def test_what_may_pass_is_tried_again_after_a_pause(kind: type[QueueError]) -> None:
    tried = end(kind("нет связи"))
    assert tried
    assert (tried.state, tried.outcome, tried.reason, tried.refund) == ("waiting", "retry", "нет связи", False)
    assert tried.delay > 0


@pytest.mark.parametrize("kind", [WarehouseError, StorageError, StoreRefused])
def test_what_does_not_pass_fails_with_the_last_attempt(kind: type[QueueError]) -> None:
    assert end(kind("нет связи"), attempts=1) == Settlement("failed", "failed", "нет связи")


def test_only_a_part_file_that_was_lost_is_begun_again() -> None:
    kinds = (StorageError, WarehouseError, StoreRefused, StoreAway)
    assert [end(kind("x")).restart for kind in kinds] == [True, False, False, False]  # type: ignore[union-attr]


def test_a_job_of_somebody_elses_is_not_touched() -> None:
    assert end(LostJob("взяли другие")) is None


def test_an_interrupted_job_goes_back_without_spending_an_attempt() -> None:
    assert end(Interrupted("остановка"), attempts=1) == Settlement("waiting", "given back", "остановка", refund=True)


def test_what_nobody_wants_is_cancelled() -> None:
    assert end(Cancelled("скрыта")) == Settlement("cancelled", "cancelled", "скрыта")
