"""What the outbox knows of its tasks."""

from __future__ import annotations

from db import Database
from integrations.parsers import letters
from tests.parsers.conftest import Parsers


def test_a_parser_that_answers_before_the_task_is_marked_is_believed(parsers: Parsers, database: str) -> None:
    [task] = parsers.tasks(1)
    parsers.sql("UPDATE parsers.task SET status = 'in_progress'")
    own = Database(database, "test")
    with own.transaction() as cursor:
        letters.note(cursor, "t", letters.Outcome(sent=[task]))
    own.close()
    assert parsers.sql("SELECT status, sent_at IS NULL FROM parsers.task") == [("in_progress", False)]


def test_a_batch_is_on_its_way_until_it_is_noted(parsers: Parsers, own: Database) -> None:
    first, second = parsers.tasks(2)
    with own.transaction() as cursor:
        assert letters.any_waits(cursor, ["vk", "rss"])
        assert not letters.any_waits(cursor, ["vk"])
        assert letters.take(cursor, "vk", "v") == []
        assert {one.task_id for one in letters.take(cursor, "rss", "t")} == {first, second}
        age = letters.doubtful(cursor, "t")
        assert age is not None
        assert age >= 0
        assert letters.doubtful(cursor, "v") is None
    with own.transaction() as cursor:
        letters.note(cursor, "t", letters.Outcome(sent=[first], reached={0: 1}, doubt=OSError()))
        assert letters.doubtful(cursor, "t") is not None
        letters.note(cursor, "t", letters.Outcome(refused=[(second, "велико"), (first, "велико")], reached={0: 4}))
        assert letters.doubtful(cursor, "t") is None
        assert letters.offsets(cursor, "t") == {0: 4}
    assert set(parsers.sql("SELECT id::text, status, error FROM parsers.task")) == {
        (first, "sent", None),  # what has been sent is no longer refused
        (second, "error", "велико"),
    }
