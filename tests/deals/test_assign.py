"""How a deal gets somebody: the rule, step by step; what an attempt goes on with; who goes on leave in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from db import Database
from errors import Interrupted, Postponed, UserError
from faults.bitrix import Bitrix, Call
from integrations.deals import steps
from integrations.deals.assign import assign
from integrations.deals.bitrix import BitrixError
from integrations.deals.options import DealSettings
from tasks import Task
from tests.database import Queries
from tests.deals.conftest import MakeTask, leave, queue, settle

Options = Callable[..., DealSettings]


def run(task: Task, options: DealSettings, deal: int = 1) -> None:
    assign(task, deal, 1000 + deal, options)
    settle(task)


def methods(bitrix: Bitrix) -> list[tuple[str, int]]:
    return [(call.method, call.id) for call in bitrix.calls]


def people(bitrix: Bitrix) -> set[str]:
    """Everybody whom Bitrix24 was ever told."""
    return {call.person for call in bitrix.calls if call.person}


def chosen(sql: Queries) -> str:
    return str(sql.value("SELECT user_id FROM tksva_q.deal WHERE deal_id = 1"))


def test_a_contact_of_nobodys_gets_the_same_person_as_its_deal(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, 1)
    run(make_task(), options())
    assert methods(bitrix) == [("crm.contact.get", 1001), ("crm.deal.update", 1), ("crm.contact.update", 1001)]
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert bitrix.deals[1] in {"1", "2", "3", "4", "5", "6"}


def test_a_contact_that_has_somebody_keeps_them(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    bitrix.contacts[1001] = "77"
    queue(deals, 1)
    run(make_task(), options())
    assert methods(bitrix) == [("crm.contact.get", 1001), ("crm.deal.update", 1)]
    assert bitrix.deals == {1: "77"}
    assert sql.value("SELECT why FROM tksva_q.deal") == "contact"


def test_the_technical_account_is_nobody(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    bitrix.contacts[1001] = "42"
    queue(deals, 1)
    run(make_task(), options(tech_account="42"))
    assert bitrix.deals[1] != "42"
    assert bitrix.contacts[1001] == bitrix.deals[1]


@pytest.mark.parametrize("broken", ["crm.contact.get", "crm.deal.update", "crm.contact.update"])
def test_an_attempt_after_a_half_done_one_goes_on_with_the_same_person(  # noqa: PLR0913, PLR0917 -- fixtures
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries, broken: str
) -> None:
    queue(deals, 1)
    bitrix.fault = lambda method, _number: "500" if method == broken else ""
    for _ in range(3):
        task = make_task()
        with pytest.raises(BitrixError) as error:
            assign(task, 1, 1001, options())
        settle(task, error.value)
        queue(deals, 1)
    bitrix.fault = lambda _method, _number: ""
    run(make_task(), options())
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert len(people(bitrix)) == 1
    assert [len(bitrix.called(method)) for method in ("crm.deal.update", "crm.contact.update")] == [1, 1]
    assert sql.value("SELECT count(*) FROM tksva_q.deal_manager WHERE is_drawn") == 1


def test_the_choice_is_stored_before_anything_is_sent(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    found: list[tuple[object, ...]] = []
    bitrix.before = lambda method, _number: found.extend(
        (method, *row) for row in sql("SELECT user_id, deal_sent, deal_updated FROM tksva_q.deal")
    )
    run(make_task(), options())
    person = bitrix.deals[1]
    assert found == [
        ("crm.contact.get", None, False, False),
        ("crm.deal.update", person, True, False),
        ("crm.contact.update", person, True, True),
    ]


# --- leave ------------------------------------------------------------------------------------------------------------


def test_whoever_goes_on_leave_between_the_draw_and_the_call_is_not_called(  # noqa: PLR0913, PLR0917 -- fixtures
    deals: Database,
    make_task: MakeTask,
    options: Options,
    bitrix: Bitrix,
    sql: Queries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue(deals, 1)
    drawn: list[str] = []
    hand_over = steps.hand_over

    def after_leave(*arguments: Any) -> Any:
        drawn.append(chosen(sql))
        leave(deals, int(drawn[0]))  # while the turn of the update was waited for
        return hand_over(*arguments)

    monkeypatch.setattr(steps, "hand_over", after_leave)
    run(make_task(), options())
    assert drawn[0] not in people(bitrix)
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert not sql.value("SELECT is_drawn FROM tksva_q.deal_manager WHERE user_id = %s", drawn[0])


def test_whoever_goes_on_leave_after_the_deal_was_updated_keeps_deal_and_contact(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    bitrix.before = lambda method, _number: leave(deals, int(chosen(sql))) if method == "crm.contact.update" else None
    run(make_task(), options())
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert len(people(bitrix)) == 1


@pytest.mark.parametrize(("fault", "same"), [("429", False), ("limit", False), ("500", True), ("nothing", True)])
def test_leave_between_two_tries_changes_the_person_unless_the_first_may_have_come_through(  # noqa: PLR0913, PLR0917
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries, fault: str, same: bool
) -> None:
    queue(deals, 1)
    first: list[str] = []

    def goes_on_leave(method: str, _number: int) -> str:
        if method != "crm.deal.update" or first:
            return ""
        first.append(chosen(sql))
        leave(deals, int(first[0]))
        return fault

    bitrix.fault = goes_on_leave
    run(make_task(), options())
    assert (bitrix.deals[1] == first[0]) is same
    assert bitrix.deals == {1: bitrix.contacts[1001]}
    assert sql.value("SELECT is_drawn FROM tksva_q.deal_manager WHERE user_id = %s", first[0]) is same


def test_a_contacts_own_person_is_asked_for_again_while_nothing_was_sent(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    bitrix.contacts[1001] = "77"
    bitrix.fault = lambda method, _number: "400" if method == "crm.deal.update" else ""
    task = make_task()
    with pytest.raises(BitrixError) as error:
        assign(task, 1, 1001, options())
    settle(task, error.value)
    queue(deals, 1)
    bitrix.fault = lambda _method, _number: ""
    bitrix.contacts[1001] = "88"
    run(make_task(), options())
    assert bitrix.deals == {1: "88"}


def test_a_deal_waits_while_everybody_is_on_leave_and_costs_nothing(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    leave(deals, 1, 2, 3, 4, 5, 6)
    queue(deals, 1)
    with pytest.raises(Postponed, match=r"^no available users$"):
        assign(make_task(), 1, 1001, options())
    assert methods(bitrix) == [("crm.contact.get", 1001)]
    assert sql.value("SELECT user_id FROM tksva_q.deal") is None


def test_a_deal_that_waits_for_somebody_takes_no_turn_until_there_is_one(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    leave(deals, 1, 2, 3, 4, 5, 6)
    queue(deals, 1, 2)
    for table in ("job", "deal"):
        sql(f"UPDATE tksva_q.{table} SET error = %s", steps.NOBODY)
    with pytest.raises(Postponed, match=r"^no available users$"):
        assign(make_task(), 1, 1001, options())
    assert bitrix.requests == []
    leave(deals, 4, excluded=False)
    run(make_task(), options(), 2)
    assert bitrix.deals == {2: "4"}


def test_everybody_going_on_leave_before_the_call_lets_it_wait(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix
) -> None:
    queue(deals, 1)
    bitrix.fault = lambda method, _number: (
        "429" if method == "crm.deal.update" and leave(deals, 1, 2, 3, 4, 5, 6) is None else ""
    )
    with pytest.raises(Postponed, match=r"^no available users$"):
        assign(make_task(), 1, 1001, options())
    assert bitrix.deals == {}


# --- two at once, and other doors -------------------------------------------------------------------------------------


def test_two_deals_of_one_contact_at_once_get_one_person(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1, 2)
    both_asked = threading.Barrier(2)
    bitrix.before = lambda method, _number: both_asked.wait(20) if method == "crm.contact.get" else None
    sql("UPDATE tksva_q.deal SET cont_id = 1001")
    tasks = [make_task(), make_task()]
    threads = [
        threading.Thread(target=assign, args=(task, deal, 1001, options(bitrix_batch=1)))
        for deal, task in enumerate(tasks, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bitrix.deals == {1: bitrix.contacts[1001], 2: bitrix.contacts[1001]}
    assert len(people(bitrix)) == 1


def test_a_deal_that_is_served_already_asks_nobody(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    run(make_task(), options())
    before = list(bitrix.calls)
    sql("UPDATE tksva_q.job SET state = 'waiting', finished_at = NULL")
    run(make_task(), options())
    assert bitrix.calls == before


def test_a_second_job_for_a_deal_is_refused(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    sql("""INSERT INTO tksva_q.job (form, params) VALUES (%s, '{"deal_id": 1, "cont_id": 1001}')""", steps.FORM)
    run(make_task(), options())
    with pytest.raises(UserError, match="сделкой 1 занимается другое задание"):
        assign(make_task(), 1, 1001, options())
    assert len(bitrix.calls) == 3


def test_a_job_from_another_door_is_a_deal_like_any_other(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    sql("""INSERT INTO tksva_q.job (form, params) VALUES (%s, '{"deal_id": 1, "cont_id": 1001}')""", steps.FORM)
    run(make_task(), options())
    assert sql("SELECT state, user_id FROM tksva_q.deal") == [("done", bitrix.deals[1])]


def test_a_worker_that_stops_gives_the_deal_back_between_two_steps(
    deals: Database, make_task: MakeTask, options: Options, bitrix: Bitrix, sql: Queries
) -> None:
    queue(deals, 1)
    asked = threading.Event()
    bitrix.before = lambda method, _number: asked.set() if method == "crm.deal.update" else None
    with pytest.raises(Interrupted):
        assign(make_task(asked.is_set), 1, 1001, options())
    assert sql("SELECT deal_updated, contact_updated FROM tksva_q.deal") == [(True, False)]
    assert [type(call) for call in bitrix.calls] == [Call, Call]
