"""The steps of a deal as the database has them: who may take it up, who holds it, what is sent and taken back."""

from __future__ import annotations

from db import Database
from integrations.deals import steps
from tests.database import Queries
from tests.deals.conftest import MakeTask, leave, queue, settle


def along(make: object, most: int) -> list[int]:
    task = make
    with task.database.transaction() as cursor:  # type: ignore[attr-defined]
        return steps.take_along(cursor, task.job, most)  # type: ignore[attr-defined]


def test_a_deal_is_taken_up_by_its_job_and_known_to_no_other(deals: Database, make_task: MakeTask) -> None:
    queue(deals, 1)
    task = make_task()
    with deals.transaction() as cursor:
        assert steps.known(cursor, task.job, 1, 1001)
        found = steps.take_up(cursor, task.job, 1)
        assert found
        assert (found[0].deal_id, found[0].cont_id, found[0].user_id, found[0].served) == (1, 1001, None, False)
        cursor.execute("UPDATE tksva_q.deal SET job_id = 99")
        assert not steps.known(cursor, task.job, 1, 1001)


def test_a_held_deal_is_its_holders_while_that_attempt_runs(deals: Database, make_task: MakeTask) -> None:
    queue(deals, 1, 2, 3)
    holder = make_task()
    assert along(holder, 50) == [2, 3]
    other = make_task()
    assert other.job.id == 2
    assert along(other, 50) == []
    with deals.transaction() as cursor:
        assert steps.take_up(cursor, other.job, 2) is None
    settle(holder)
    with deals.transaction() as cursor:
        assert steps.take_up(cursor, other.job, 2)
    assert along(other, 50) == [3]


def test_what_is_let_go_may_be_taken_along_by_others(deals: Database, make_task: MakeTask) -> None:
    queue(deals, 1, 2, 3)
    holder = make_task()
    assert along(holder, 50) == [2, 3]
    with deals.transaction() as cursor:
        steps.let_go(cursor, holder.job)
    other = make_task()
    assert along(other, 50) == [3]


def test_only_what_would_run_now_is_taken_along(deals: Database, make_task: MakeTask, sql: Queries) -> None:
    queue(deals, 1, 2, 3, 4, 5)
    sql("UPDATE tksva_q.job SET run_at = now() + interval '1 hour' WHERE id = 3")
    sql("UPDATE tksva_q.deal SET deal_updated = true, contact_updated = true, why = 'draw' WHERE deal_id = 4")
    assert along(make_task(), 50) == [2, 5]


def test_what_is_handed_over_is_noted_once_and_can_be_taken_back(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2)
    with deals.transaction() as cursor:
        [now] = sql("SELECT now()")
        first = steps.choose(cursor, {1: "", 2: "77"}, now[0])
        assert [deal.deal_id for deal in first] == [1, 2]
        assert steps.hand_over(cursor, [1, 2], now[0]) == (first, [1, 2])
        assert steps.hand_over(cursor, [1, 2], now[0]) == (first, [])
        steps.take_back(cursor, [1])
        assert steps.hand_over(cursor, [1, 2], now[0]) == (first, [1])
        steps.deals_updated(cursor, [1])
        steps.take_back(cursor, [1])
        assert [(deal.deal_updated, deal.served) for deal in steps.read(cursor, [1, 2])] == [
            (True, False),
            (False, False),
        ]
        steps.contacts_updated(cursor, [1])
        steps.deals_updated(cursor, [2])
        assert [deal.served for deal in steps.read(cursor, [1, 2])] == [True, True]


def test_a_reopened_deal_keeps_the_drawn_unless_on_leave_and_forgets_the_contacts_own(
    deals: Database, sql: Queries
) -> None:
    queue(deals, 1, 2, 3)
    [now] = sql("SELECT now()")
    with deals.transaction() as cursor:
        one, two, _ = steps.choose(cursor, {1: "", 2: "", 3: "77"}, now[0])
    leave(deals, int(two.user_id or 0))
    with deals.transaction() as cursor:
        assert [deal.user_id for deal in steps.reopen(cursor, [1, 2, 3])] == [one.user_id, None, None]
