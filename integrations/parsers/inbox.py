"""A batch of messages becomes the tasks' statuses, all in one transaction with the offsets behind them.

The offsets in the database are the truth. They move only from where the reader believed them to be, so that no
message is applied twice, whoever reads: a reader that was taken for dead finds them moved, and applies nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from psycopg2 import Binary

from db import Cursor
from errors import QueueError
from integrations.parsers import statuses
from integrations.parsers.statuses import Change, Malformed, Status


class OffsetsMoved(QueueError):
    """Somebody else has read on: nothing was applied."""


@dataclass(frozen=True)
class Message:
    """A message of the topic of statuses."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    body: bytes | None


@dataclass(frozen=True)
class Span:
    """What a batch covers of a partition."""

    topic: str
    partition: int
    first: int  # where the reader believes to be
    next: int  # where it will be
    end: int  # where the partition ends, as far as is known


@dataclass
class Counts:
    """What became of the messages of a batch."""

    applied: int = 0
    ignored: int = 0  # too late: the task had ended
    malformed: int = 0
    unknown: int = 0  # of no task of ours


_MOVE = """
UPDATE parsers.consumed c SET next_offset = s.next, end_offset = s.last
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[]) AS s (topic, partition, first, next, last)
WHERE c.topic = s.topic AND c.partition = s.partition AND c.next_offset = s.first
"""
_CHANGE = """
UPDATE parsers.task k SET status = c.status, started_at = coalesce(k.started_at, c.started_at),
    finished_at = c.finished_at, items = coalesce(c.items, k.items), error = coalesce(c.error, k.error)
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bigint[], %s::text[])
     AS c (id, status, started_at, finished_at, items, error)
WHERE k.id = c.id
"""
_REFUSE = """
INSERT INTO parsers.refused (topic, partition, message_offset, kind, reason, key, body)
SELECT * FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::bytea[], %s::bytea[])
"""
_COUNT = """
UPDATE parsers.counter k SET value = k.value + c.value FROM unnest(%s::text[], %s::bigint[]) AS c (name, value)
WHERE k.name = c.name AND c.value > 0
"""


def apply(cursor: Cursor, spans: Sequence[Span], messages: Sequence[Message]) -> Counts:
    """Apply the messages that lie in the spans, in their order within a partition.

    Raises:
        OffsetsMoved: the transaction is to be rolled back, and the offsets read again.
    """
    spans = sorted(spans, key=lambda span: (span.topic, span.partition))
    cursor.execute(
        _MOVE,
        [[getattr(one, column.name) for one in spans] for column in fields(Span)],
    )
    if cursor.rowcount != len(spans):
        raise OffsetsMoved("another consumer has read on")
    counts = Counts()
    refused: list[tuple[Message, str, str]] = []
    said: dict[str, list[tuple[Status, Message]]] = {}
    for message in messages:
        try:
            status = statuses.read(message.body)
        except Malformed as error:
            refused.append((message, "malformed", str(error)))
            counts.malformed += 1
        else:
            said.setdefault(status.task_id, []).append((status, message))
    known = _lock(cursor, list(said))
    changes: list[Change] = []
    for task_id, arrived in said.items():
        if task_id not in known:
            refused += [(message, "unknown", f"нет задачи {task_id}") for _, message in arrived]
            counts.unknown += len(arrived)
            continue
        change, late = statuses.fold(known[task_id], [status for status, _ in arrived])
        counts.ignored += late
        counts.applied += len(arrived) - late
        if change is not None:
            changes.append(change)
    _write(cursor, changes, refused, counts)
    return counts


def _lock(cursor: Cursor, tasks: list[str]) -> dict[str, str]:
    if not tasks:
        return {}
    # In the order in which whoever cancels or marks tasks locks them, too.
    cursor.execute(
        "SELECT id::text, status FROM parsers.task WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE", (tasks,)
    )
    return dict(cursor.fetchall())


def _write(cursor: Cursor, changes: list[Change], refused: list[tuple[Message, str, str]], counts: Counts) -> None:
    if changes:
        cursor.execute(_CHANGE, [[getattr(one, column.name) for one in changes] for column in fields(Change)])
    if refused:
        columns = [
            [message.topic for message, _, _ in refused],
            [message.partition for message, _, _ in refused],
            [message.offset for message, _, _ in refused],
            [kind for _, kind, _ in refused],
            [reason for _, _, reason in refused],
            [message.key and Binary(message.key) for message, _, _ in refused],
            [message.body and Binary(message.body) for message, _, _ in refused],
        ]
        cursor.execute(_REFUSE, columns)
    # Last: every batch wants these rows.
    values = [counts.applied, counts.ignored, counts.malformed, counts.unknown]
    cursor.execute(_COUNT, (["applied", "ignored", "malformed", "unknown"], values))


def offsets(cursor: Cursor, topic: str) -> dict[int, int]:
    """Return where each partition of a topic is to be read on."""
    cursor.execute("SELECT partition, next_offset FROM parsers.consumed WHERE topic = %s", (topic,))
    return dict(cursor.fetchall())


def begin(cursor: Cursor, topic: str, starts: dict[int, int]) -> None:
    """Note where partitions begin that were never read."""
    cursor.execute(
        "INSERT INTO parsers.consumed (topic, partition, next_offset) SELECT %s, * FROM unnest(%s::int[], %s::bigint[])"
        " ON CONFLICT DO NOTHING",
        (topic, list(starts), list(starts.values())),
    )


def begin_anew(cursor: Cursor, topic: str, partition: int, believed: int, start: int) -> None:
    """Go back to the beginning of a partition that ends before where it was read: somebody has made it anew."""
    cursor.execute(
        "UPDATE parsers.consumed SET next_offset = %s, end_offset = %s"
        " WHERE topic = %s AND partition = %s AND next_offset = %s",
        (start, start, topic, partition, believed),
    )


def note_ends(cursor: Cursor, topic: str, ends: dict[int, int]) -> None:
    """Note where partitions end: the lag is the way to there."""
    cursor.execute(
        "UPDATE parsers.consumed c SET end_offset = e.last FROM unnest(%s::int[], %s::bigint[]) AS e (partition, last)"
        " WHERE c.topic = %s AND c.partition = e.partition AND c.end_offset <> e.last",
        (list(ends), list(ends.values()), topic),
    )
