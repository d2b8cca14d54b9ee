"""Partitions are shared out by locks that go with their connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from db import Database
from integrations.parsers import shares

Join = Callable[[], Database]


@pytest.fixture
def join(database: str) -> Iterator[Join]:
    """Let one more connection read the topic."""
    joined: list[Database] = []

    def add() -> Database:
        joined.append(one := Database(database, "test"))
        with one.statement() as cursor:
            shares.join(cursor, "t")
        return one

    yield add
    for one in joined:
        one.close()


def share(one: Database, held: set[int], count: int = 4) -> set[int]:
    with one.statement() as cursor:
        return shares.share(cursor, "t", range(count), held)


def test_one_alone_has_all_and_two_half_each(join: Join) -> None:
    first = join()
    assert share(first, set()) == {0, 1, 2, 3}
    second = join()
    assert share(second, set()) == set()  # the first one has not given any back yet
    assert share(first, {0, 1, 2, 3}) == {0, 1}
    assert share(second, set()) == {2, 3}
    assert share(first, {0, 1}) == {0, 1}
    with first.statement() as cursor:
        assert (shares.members(cursor, "t"), shares.members(cursor, "another")) == (2, 0)


def test_there_may_be_more_readers_than_partitions(join: Join) -> None:
    held = [share(join(), set(), 1) for _ in range(2)]
    assert held == [{0}, set()]
