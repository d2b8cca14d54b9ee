"""Many deals in one request: what it saves, what it leaves alone, and that it is never missed where it fails."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from db import Database
from errors import Interrupted, Postponed
from faults.bitrix import Bitrix
from integrations.deals import together
from integrations.deals.assign import assign
from integrations.deals.options import DealSettings
from tests.database import Queries
from tests.deals.conftest import MakeTask, leave, queue, settle
from tests.waiting import wait_for

Options = Callable[..., DealSettings]


def fair(bitrix: Bitrix, deals: int) -> bool:
    each = {str(number): deals // 6 for number in range(1, 7)}
    same = all(bitrix.contacts[1000 + deal] == person for deal, person in bitrix.deals.items())
    return same and Counter(bitrix.deals.values()) == each


def run(make_task: MakeTask, options: DealSettings, *numbers: int) -> None:
    for number in numbers:
        task = make_task()
        assign(task, number, 1000 + number, options)
        settle(task)


def test_fifty_deals_cost_three_requests(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, *range(1, 55))
    run(make_task, options(), 1)
    assert len(bitrix.requests) == 3
    assert sql.value("SELECT count(*) FROM tksva_q.deal WHERE served") == 50
    run(make_task, options(), *range(2, 55))
    assert len(bitrix.requests) == 6
    assert sorted(bitrix.deals) == list(range(1, 55))
    assert fair(bitrix, 54)
    assert len(bitrix.called("crm.deal.update")) == 54


def test_the_deals_that_wait_longest_come_along(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, 9, 8, 7, 6, 5, 4)
    run(make_task, options(bitrix_batch=3), 9)
    assert sorted(bitrix.deals) == [7, 8, 9]


def test_a_deal_by_itself_is_no_batch_and_neither_is_any_where_they_are_off(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, 1)
    run(make_task, options(), 1)
    queue(deals, 2, 3)
    run(make_task, options(bitrix_batch=1), 2, 3)
    assert len(bitrix.requests) == 9


def test_contacts_with_somebody_and_contacts_of_nobodys_in_one_request(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    bitrix.contacts = {1000 + number: "77" for number in (2, 4)}
    queue(deals, 1, 2, 3, 4)
    run(make_task, options(), 1, 2, 3, 4)
    assert (bitrix.deals[2], bitrix.deals[4]) == ("77", "77")
    assert sorted(bitrix.called("crm.contact.update")) == [1001, 1003]
    assert all(bitrix.contacts[1000 + deal] == person for deal, person in bitrix.deals.items())


def test_what_fails_in_a_batch_is_left_to_its_own_job_with_contact_and_turn(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    bitrix.absent = {2, 5}
    queue(deals, *range(1, 7))
    run(make_task, options(), 1)
    assert sorted(bitrix.deals) == [1, 3, 4, 6]
    assert {1002, 1005}.isdisjoint(bitrix.contacts)
    assert sql("SELECT deal_id, deal_sent FROM tksva_q.deal WHERE NOT served ORDER BY 1") == [(2, False), (5, False)]
    assert sql.value("SELECT count(*) FROM tksva_q.deal WHERE held_by IS NOT NULL") == 0
    bitrix.absent = set()
    run(make_task, options(), *range(2, 7))
    assert fair(bitrix, 6)


@pytest.mark.parametrize("fault", ["500", "nothing", "html", "odd", "half"])
def test_a_batch_that_fails_as_a_whole_is_never_missed(  # noqa: PLR0913, PLR0917 -- fixtures
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries, fault: str
) -> None:
    bitrix.fault = lambda method, _number: fault if method == "batch" else ""
    queue(deals, *range(1, 7))
    run(make_task, options(), *range(1, 7))
    assert fair(bitrix, 6)
    assert len(bitrix.requests) == 1 + 6 * 3  # one batch, and no second one for a while
    assert sql.value("SELECT number FROM tksva_q.deal_counter WHERE name = 'bitrix'") == 1


def test_where_there_is_no_batch_everything_goes_by_itself(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    bitrix.batches = False
    queue(deals, *range(1, 7))
    run(make_task, options(), *range(1, 7))
    assert fair(bitrix, 6)


def test_whoever_goes_on_leave_while_a_batch_waits_gets_none_of_it(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, *range(1, 11))
    asked: list[str] = []

    def goes_on_leave(method: str, _number: int) -> str:
        asked.append(method)
        if len(asked) == 2:  # the first batch of updates comes too soon
            leave(deals, 3)
            return "429"
        return ""

    # Only whole requests: a batch asks for each of its commands too, with its own method.
    bitrix.fault = lambda method, number: goes_on_leave(method, number) if method == "batch" else ""
    run(make_task, options(), *range(1, 11))
    assert Counter(bitrix.deals.values()) == {"1": 2, "2": 2, "4": 2, "5": 2, "6": 2}
    assert all(bitrix.contacts[1000 + deal] == person for deal, person in bitrix.deals.items())


def test_where_all_go_on_leave_while_a_batch_waits_nothing_of_it_is_sent_again(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1, 2, 3)
    asked: list[str] = []

    def all_go_on_leave(method: str, _number: int) -> str:
        asked.append(method)
        if len(asked) == 2:  # the first batch of updates comes too soon
            leave(deals, *range(1, 7))
            return "429"
        return ""

    bitrix.fault = lambda method, number: all_go_on_leave(method, number) if method == "batch" else ""
    with pytest.raises(Postponed):  # and the deal by itself finds nobody, either
        assign(make_task(), 1, 1001, options())
    assert bitrix.deals == {}
    assert sql("SELECT DISTINCT user_id, deal_sent, deal_updated, served FROM tksva_q.deal") == [
        (None, False, False, False)
    ]


def test_while_everybody_is_on_leave_a_batch_takes_nobody(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    leave(deals, *range(1, 7))
    bitrix.contacts[1001] = bitrix.contacts[1002] = "77"
    queue(deals, 1, 2, 3)
    run(make_task, options(), 1)
    assert bitrix.deals == {1: "77", 2: "77"}
    assert sql("SELECT deal_id, user_id FROM tksva_q.deal WHERE NOT served") == [(3, None)]


def test_another_worker_waits_for_the_deal_that_is_seen_to_and_does_nothing_twice(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, 1, 2)
    one = make_task()
    in_the_midst, go_on = threading.Event(), threading.Event()
    ended: list[int] = []

    def hold(_method: str, _number: int) -> None:
        in_the_midst.set()
        go_on.wait(100)

    bitrix.before = hold
    threads = [threading.Thread(target=assign, args=(one, 1, 1001, options(bitrix_timeout=60)))]
    threads[0].start()
    assert in_the_midst.wait(60)
    looks: list[None] = []
    two = make_task(lambda: bool(looks.append(None)))  # type: ignore[func-returns-value]
    assert two.job.id == 2
    threads.append(
        threading.Thread(target=lambda: (assign(two, 2, 1002, options()), ended.append(len(bitrix.requests))))
    )
    threads[1].start()
    wait_for(lambda: len(looks) > 2, 60)  # it has looked, and looks again
    assert ended == []
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert ended == [3]
    assert len(bitrix.calls) == 6


def test_what_a_dead_worker_held_is_free(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1, 2)
    dead = make_task()
    sql("UPDATE tksva_q.deal SET held_by = %s, held_attempt = %s", dead.job.id, dead.job.attempt)
    looks = itertools.count(1)
    alive = make_task(lambda: next(looks) == 3)
    with pytest.raises(Interrupted):  # it waits, for as long as it may
        assign(alive, 2, 1002, options())
    assert next(looks) == 4
    settle(dead, ValueError("killed"))
    assign(alive, 2, 1002, options())
    assert bitrix.deals == {2: bitrix.contacts[1002]}


def test_a_worker_that_stops_in_the_midst_lets_the_others_go_on(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, *range(1, 7))
    asked = threading.Event()
    bitrix.before = lambda _method, _number: asked.set() if len(bitrix.requests) == 2 else None
    stopped = make_task(asked.is_set)
    with pytest.raises(Interrupted):
        assign(stopped, 1, 1001, options())
    settle(stopped, ValueError("given back"))
    queue(deals, 1)
    run(make_task, options(), *range(1, 7))
    assert fair(bitrix, 6)
    assert len(bitrix.called("crm.deal.update")) == 6


def test_a_service_without_batches_is_asked_for_one_again_after_a_while(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    bitrix.batches = False
    queue(deals, *range(1, 7))
    run(make_task, options(), 1)
    bitrix.batches = True
    monkeypatch.setattr(together, "_shy_until", time.monotonic())
    run(make_task, options(), *range(2, 7))
    assert len(bitrix.requests) == 1 + 3 + 3
