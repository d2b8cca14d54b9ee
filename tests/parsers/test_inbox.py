"""A batch and its offsets are one transaction; nothing is applied twice, whoever reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from db import Database
from integrations.parsers import groups, inbox
from integrations.parsers.inbox import Counts, Message, OffsetsMoved, Span
from tests.database import Queries
from tests.parsers.conftest import Parsers, status

TOPIC = "statuses"


@pytest.fixture
def own(database: str, parsers: Parsers) -> Iterator[Database]:
    opened = Database(database, "test")
    with opened.transaction() as cursor:
        inbox.begin(cursor, TOPIC, {0: 0, 1: 5})
    yield opened
    opened.close()


def messages(partition: int, first: int, *bodies: bytes | None) -> list[Message]:
    return [Message(TOPIC, partition, first + place, b"k", body) for place, body in enumerate(bodies)]


def apply(own: Database, *parts: list[Message], end: int = 100) -> Counts:
    spans = [Span(TOPIC, part[0].partition, part[0].offset, part[-1].offset + 1, end) for part in parts]
    with own.transaction() as cursor:
        return inbox.apply(cursor, spans, [message for part in parts for message in part])


def test_a_batch_moves_tasks_counters_and_offsets_together(own: Database, parsers: Parsers, sql: Queries) -> None:
    one, two, three = parsers.tasks(3)
    gone = "0190c7a4-6f5e-7000-8000-000000000001"
    counts = apply(
        own,
        messages(0, 0, status(one, "in_progress", 1), status(one, "success", 2, items=5), status(one, "error", 3)),
        messages(1, 5, status(two, "in_progress", 4), b"\xff", status(gone, "success"), None),
    )
    assert counts == Counts(applied=3, ignored=1, malformed=2, unknown=1)
    assert parsers.counters() == {"applied": 3, "ignored": 1, "malformed": 2, "unknown": 1}
    found = {
        row[0]: row[1:]
        for row in sql("SELECT id::text, status, items, started_at::text, finished_at::text FROM parsers.task")
    }
    assert found[one][:2] == ("success", 5)
    assert found[one][2].startswith("2026-01-01 12:00:01")
    assert found[one][3].startswith("2026-01-01 12:00:02")
    assert found[two][:2] == ("in_progress", None)
    assert found[three][0] == "created"
    assert sql("SELECT partition, next_offset, end_offset FROM parsers.consumed ORDER BY 1") == [
        (0, 3, 100),
        (1, 9, 100),
    ]
    refused = sql("SELECT kind, message_offset, encode(key, 'escape'), body FROM parsers.refused ORDER BY id")
    assert [(kind, offset, key) for kind, offset, key, _ in refused] == [
        ("malformed", 6, "k"),
        ("malformed", 8, "k"),
        ("unknown", 7, "k"),
    ]
    assert [body and bytes(body) for *_, body in refused] == [b"\xff", None, status(gone, "success")]


def test_a_batch_that_was_applied_already_is_refused_whole(own: Database, parsers: Parsers) -> None:
    one, two = parsers.tasks(2)
    apply(own, messages(0, 0, status(one, "in_progress")))
    with pytest.raises(OffsetsMoved):
        apply(own, messages(1, 5, status(two, "success")), messages(0, 0, status(one, "success")))
    assert parsers.states() == {"in_progress": 1, "created": 1}
    assert parsers.counters()["applied"] == 1


def test_two_that_read_the_same_partition_apply_it_once(own: Database, parsers: Parsers, database: str) -> None:
    tasks = parsers.tasks(50)
    batch = messages(0, 0, *(status(task, "success") for task in tasks))
    moved: list[int] = []

    def read() -> None:
        mine = Database(database, "another")
        try:
            apply(mine, batch)
        except OffsetsMoved:
            moved.append(1)
        mine.close()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(moved) == 3
    assert parsers.counters()["applied"] == 50
    assert parsers.states() == {"success": 50}


def test_a_task_that_was_cancelled_stays_so(own: Database, parsers: Parsers, sql: Queries) -> None:
    [task] = parsers.tasks(1)
    sql("UPDATE parsers.task_group SET expires_at = now() - interval '1 s'")
    with own.transaction() as cursor:
        assert groups.cancel_expired(cursor) == (1, 1)
    assert apply(own, messages(0, 0, status(task, "success"))) == Counts(ignored=1)
    assert parsers.states() == {"cancelled": 1}


def test_a_topic_made_anew_is_read_from_its_beginning_by_one(own: Database, sql: Queries) -> None:
    with own.transaction() as cursor:
        inbox.begin(cursor, TOPIC, {1: 0})  # known already: nothing changes
        inbox.begin_anew(cursor, TOPIC, 1, 5, 0)
        inbox.begin_anew(cursor, TOPIC, 1, 5, 3)  # who comes second believes what is no longer so
        inbox.note_ends(cursor, TOPIC, {0: 7, 1: 8, 2: 9})
        assert inbox.offsets(cursor, TOPIC) == {0: 0, 1: 0}
    assert sql("SELECT end_offset FROM parsers.consumed ORDER BY partition") == [(7,), (8,)]


def test_what_was_refused_is_forgotten_after_a_month(own: Database, sql: Queries) -> None:
    apply(own, messages(0, 0, b"x", b"y"))
    sql("UPDATE parsers.refused SET at = now() - interval '31 days' WHERE message_offset = 0")
    with own.transaction() as cursor:
        groups.forget_refused(cursor)
    assert sql("SELECT message_offset FROM parsers.refused") == [(1,)]
