"""The draw: uniform, fair in every round, nobody on leave, one person for all that concerns a contact."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from db import Database
from integrations.deals import draw
from tests.database import Queries
from tests.deals.conftest import leave, queue

NOW = datetime.now(UTC)


def choose(deals: Database, deal: int, owner: str = "", since: datetime = NOW) -> draw.Choice | None:
    with deals.transaction() as cursor:
        draw.lock(cursor)
        return draw.choose(cursor, deal, owner, since, random.SystemRandom())


def give_up(deals: Database, *numbers: int) -> None:
    with deals.transaction() as cursor:
        draw.lock(cursor)
        draw.give_up(cursor, list(numbers))


def test_the_draw_is_uniform_and_a_seed_makes_it_repeatable(deals: Database) -> None:
    def firsts(rounds: int, seed: int) -> list[str | None]:
        source, found = random.Random(seed), []  # noqa: S311 -- repeatable
        while len(found) < rounds:
            with deals.transaction() as cursor:
                for _ in range(20):  # the server looks at every version of a row that a transaction has made
                    cursor.execute("UPDATE tksva_q.deal_manager SET is_drawn = false")
                    found.append(draw.draw(cursor, source))
        return found

    assert firsts(20, 7) == firsts(20, 7)
    counts = Counter(firsts(10_000, 1))
    expected = 10_000 / 6
    assert len(counts) == 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 20.5  # p = 0.001, 5 degrees


def test_in_a_round_everybody_gets_exactly_one_deal(deals: Database) -> None:
    for _ in range(5):
        with deals.transaction() as cursor:
            drawn = [draw.draw(cursor, random.SystemRandom()) for _ in range(6)]
        assert sorted(map(str, drawn)) == ["1", "2", "3", "4", "5", "6"]


def test_a_new_round_calls_nobody_back_from_leave(deals: Database) -> None:
    leave(deals, 3)
    for _ in range(4):
        with deals.transaction() as cursor:
            drawn = [draw.draw(cursor, random.SystemRandom()) for _ in range(5)]
        assert sorted(map(str, drawn)) == ["1", "2", "4", "5", "6"]


def test_nobody_is_drawn_where_everybody_is_on_leave(deals: Database) -> None:
    leave(deals, 1, 2, 3, 4, 5, 6)
    queue(deals, 1)
    assert choose(deals, 1) is None
    leave(deals, 2, excluded=False)
    assert choose(deals, 1) == draw.Choice("2", "draw")


def test_a_choice_is_made_once(deals: Database) -> None:
    queue(deals, 1)
    first = choose(deals, 1)
    assert first
    assert first.why == "draw"
    assert {choose(deals, 1, owner) for owner in ("", "77", "", "88")} == {first}


def test_whoever_the_contact_has_is_chosen_and_nobody_loses_a_turn(deals: Database, sql: Queries) -> None:
    queue(deals, 1)
    assert choose(deals, 1, "77") == draw.Choice("77", "contact")
    assert sql.value("SELECT count(*) FROM tksva_q.deal_manager WHERE is_drawn") == 0


def test_two_deals_of_a_contact_at_once_get_the_same_person(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2, 3)
    sql("UPDATE tksva_q.deal SET cont_id = 5 WHERE deal_id < 3")
    first, second, other = (choose(deals, deal) for deal in (1, 2, 3))
    assert first
    assert second == draw.Choice(first.user_id, "contact")
    assert other
    assert other.user_id != first.user_id


def test_what_ended_before_the_contact_was_asked_says_nothing(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2)
    first = choose(deals, 1)
    assert first
    sql("UPDATE tksva_q.deal SET cont_id = 5")
    sql("UPDATE tksva_q.deal SET state = 'done', done_at = %s WHERE deal_id = 1", NOW)
    second = choose(deals, 2)
    assert second
    assert second.why == "draw"


@pytest.mark.parametrize("sent", [False, True])
def test_whoever_goes_on_leave_before_anything_was_sent_is_given_up_and_keeps_the_turn(
    deals: Database, sql: Queries, sent: bool
) -> None:
    queue(deals, 1)
    first = choose(deals, 1)
    assert first
    sql("UPDATE tksva_q.deal SET deal_sent = %s", sent)
    leave(deals, int(first.user_id))
    give_up(deals, 1)
    turn_kept = not sql.value("SELECT is_drawn FROM tksva_q.deal_manager WHERE user_id = %s", first.user_id)
    second = choose(deals, 1)
    assert second
    assert (second == first, turn_kept) == (sent, not sent)


def test_whoever_is_at_work_is_not_given_up(deals: Database) -> None:
    queue(deals, 1)
    first = choose(deals, 1)
    give_up(deals, 1)
    assert choose(deals, 1) == first


def test_whoever_has_another_deal_of_the_contact_stays_though_on_leave(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2)
    sql("UPDATE tksva_q.deal SET cont_id = 5")
    first = choose(deals, 1)
    assert first
    choose(deals, 2)
    sql("UPDATE tksva_q.deal SET deal_sent = true WHERE deal_id = 2")
    leave(deals, int(first.user_id))
    give_up(deals, 1)
    assert choose(deals, 1) == first
