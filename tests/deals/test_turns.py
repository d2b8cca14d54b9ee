"""Turns: not one request too many in any second, whoever asks, and none lost with those who die."""

from __future__ import annotations

import threading
import time

import pytest

from db import Database
from errors import Interrupted
from integrations.deals.turns import turn
from tests.database import Queries
from tests.deals.conftest import MakeTask, queue, settle
from tests.waiting import wait_for


def most(times: list[float], seconds: float) -> int:
    return max(sum(1 for other in times if at <= other < at + seconds) for at in times)


def test_no_second_has_one_request_too_many_however_late_each_is(deals: Database, make_task: MakeTask) -> None:
    queue(deals, 1, 2, 3, 4)
    arrived: list[float] = []

    def ask(number: int) -> None:
        task = make_task()
        for round_ in range(4):
            with turn(task, rate=10):
                time.sleep(0.03 * ((number + round_) % 4))  # on the way
                arrived.append(time.monotonic())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(arrived) == 16
    assert most(arrived, 0.99) <= 10


@pytest.mark.parametrize(("rate", "at_once"), [(0.5, 1), (1, 1), (2.5, 2), (4, 4)])
def test_a_rate_is_so_many_turns_and_a_window(
    deals: Database, make_task: MakeTask, sql: Queries, rate: float, at_once: int
) -> None:
    queue(deals, 1)
    task = make_task()
    with turn(task, rate):
        pass
    assert sql.value("SELECT count(*) FROM tksva_q.deal_turn") == at_once
    left = sql.value("SELECT extract(epoch FROM max(free_at) - clock_timestamp())::float FROM tksva_q.deal_turn")
    assert left <= at_once / rate


def test_the_turn_of_a_dead_attempt_is_free_after_a_window(deals: Database, make_task: MakeTask, sql: Queries) -> None:
    queue(deals, 1, 2)
    looks: list[None] = []
    dead, other = make_task(), make_task(lambda: bool(looks.append(None)))  # type: ignore[func-returns-value]
    never_left = turn(dead, rate=2)
    never_left.__enter__()
    sql("UPDATE tksva_q.deal_turn SET free_at = now() + interval '1 hour' WHERE job_id IS NULL")
    had: list[int | None] = []

    def wait() -> None:
        with turn(other, rate=2):
            had.append(sql.value("SELECT max(job_id) FROM tksva_q.deal_turn"))

    waits = threading.Thread(target=wait)
    waits.start()
    wait_for(lambda: len(looks) > 2, 60)  # it has looked, and looks again
    assert had == []
    settle(dead, ValueError("killed"))
    waits.join(60)
    assert had == [other.job.id]


def test_whoever_waits_hears_that_the_worker_stops(deals: Database, make_task: MakeTask, sql: Queries) -> None:
    queue(deals, 1)
    asked = threading.Event()
    task = make_task(asked.is_set)
    with turn(task, rate=1):
        pass
    sql("UPDATE tksva_q.deal_turn SET free_at = now() + interval '1 hour'")
    heard: list[type[Exception]] = []

    def wait() -> None:
        try:
            with turn(task, rate=1):
                pass
        except Interrupted as error:
            heard.append(type(error))

    waits = threading.Thread(target=wait)
    waits.start()
    asked.set()
    waits.join(60)
    assert heard == [Interrupted]


def test_a_turn_is_given_back_also_where_the_request_fails(deals: Database, make_task: MakeTask, sql: Queries) -> None:
    queue(deals, 1)
    task = make_task()
    with pytest.raises(ZeroDivisionError), turn(task, rate=500):
        1 / 0  # noqa: B018
    assert sql.value("SELECT count(*) FROM tksva_q.deal_turn WHERE job_id IS NOT NULL") == 0
    wait_for(lambda: sql.value("SELECT bool_and(free_at < now()) FROM tksva_q.deal_turn"))
