"""Which end an attempt comes to that its child could not end itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import child
from jobs import Job, Settlement
from settings import Settings
from settling import end_of
from tests.records import claimed
from workers import Cause, Death

SETTINGS = Settings(max_attempts=3, chunk_size=1000)


def job(spent: int = 1, rows: int = 0, *, cancel: bool = False) -> Job:
    return claimed(attempt=spent, spent=spent, rows=rows, cancel=cancel)


def death(cause: Cause | None = None, code: int = -9, *, out_of_memory: bool = False) -> Death:
    return Death(0, None, cause, code, out_of_memory)


def test_a_kill_costs_an_attempt_and_waits(tmp_path: Path) -> None:
    end = end_of(job(), death(), SETTINGS)
    assert (end.state, end.outcome, end.refund) == ("waiting", "retry", False)
    assert end.delay > 1
    assert "signal 9" in str(end.reason)


def test_the_last_attempt_fails_for_good() -> None:
    assert end_of(job(spent=3), death(), SETTINGS).state == "failed"


def test_an_out_of_memory_kill_halves_the_page() -> None:
    assert end_of(job(), death(out_of_memory=True), SETTINGS).chunk_size == 500


@pytest.mark.parametrize("how", [death("cancelled"), death("stopping"), death("time limit"), death(), None])
def test_a_job_ends_cancelled_where_somebody_has_asked_for_it_and_nowhere_else(how: Death | None) -> None:
    assert end_of(job(cancel=True), how, SETTINGS).state == "cancelled"
    assert end_of(job(), how, SETTINGS).state == "waiting"


def test_stopping_spends_no_attempt() -> None:
    assert end_of(job(), death("stopping"), SETTINGS) == Settlement(
        "waiting", "given back", "the worker stops", refund=True
    )


@pytest.mark.parametrize("how", [death("lease lost"), None])
def test_a_lost_database_spends_an_attempt_only_where_no_row_was_added(how: Death | None) -> None:
    assert end_of(job(rows=10), how, SETTINGS).refund
    assert not end_of(job(rows=0), how, SETTINGS).refund
    assert end_of(job(rows=0, spent=3), how, SETTINGS).state == "failed"
    assert end_of(job(rows=10, spent=3), how, SETTINGS).state == "waiting"


@pytest.mark.parametrize("cause", [None, "cancelled", "time limit", "stopping"])
def test_a_job_that_its_child_was_not_at_is_neither_charged_nor_cancelled(cause: Cause | None) -> None:
    for other in (dataclasses.replace(job(), id=2), job(spent=2)):  # the same job's earlier attempt is another, too
        of_another = Death(0, child.Started(other, 10), cause, -9)
        assert end_of(job(spent=3), of_another, SETTINGS) == Settlement(
            "waiting", "given back", "its process ended with another job", refund=True
        )
        assert end_of(job(cancel=True), of_another, SETTINGS).state == "cancelled"
    its_own = Death(0, child.Started(job(), 10), cause, -9)
    assert end_of(job(), its_own, SETTINGS).reason != "its process ended with another job"
