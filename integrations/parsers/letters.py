"""What the outbox knows of its tasks, in the database: which wait, which are on their way, how far a topic is known."""

from dataclasses import dataclass, field

from db import Cursor

#: Tasks of a batch.
BATCH = 500

_WAITING = """
SELECT k.id::text, k.payload::text FROM parsers.task k JOIN parsers.task_group g ON g.id = k.group_id
WHERE k.status = 'created' AND g.source_type = ANY(%s) AND g.expires_at > now() ORDER BY k.created_at, k.id LIMIT %s
"""
_SENT = """
WITH arrived AS (SELECT id FROM parsers.task WHERE id = ANY(%s::uuid[]) ORDER BY id FOR UPDATE)
UPDATE parsers.task k SET sent_at = coalesce(k.sent_at, now()),
    status = CASE k.status WHEN 'created' THEN 'sent' ELSE k.status END  -- a quick parser may have answered already
FROM arrived WHERE k.id = arrived.id
"""
_REFUSED = """
UPDATE parsers.task k SET status = 'error', finished_at = now(), error = r.reason
FROM unnest(%s::uuid[], %s::text[]) AS r (id, reason) WHERE k.id = r.id AND k.status = 'created'
"""
_REACHED = """
INSERT INTO parsers.outbox AS o (topic, partition, next_offset) SELECT %s, * FROM unnest(%s::int[], %s::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


@dataclass(frozen=True)
class Letter:
    """A task that is to be sent."""

    task_id: str
    body: str  # JSON


@dataclass
class Outcome:
    """What came of a batch."""

    sent: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)  # and why
    reached: dict[int, int] = field(default_factory=dict)  # partition -> the offset behind the last task known there
    doubt: Exception | None = None  # the rest may have arrived, or not


def any_waits(cursor: Cursor, kinds: list[str]) -> bool:
    """Tell whether a task of these kinds of sources waits."""
    cursor.execute(_WAITING, (kinds, 1))
    return cursor.fetchone() is not None


def take(cursor: Cursor, kind: str, topic: str) -> list[Letter]:
    """Return the next batch, and note that it is on its way; in a transaction of its own."""
    cursor.execute(_WAITING, ([kind], BATCH))
    letters = [Letter(*row) for row in cursor.fetchall()]
    if letters:
        cursor.execute(
            "INSERT INTO parsers.sending (topic, since) VALUES (%s, clock_timestamp())"
            " ON CONFLICT (topic) DO UPDATE SET since = excluded.since",
            (topic,),
        )
    return letters


def note(cursor: Cursor, topic: str, outcome: Outcome) -> None:
    """Note what came of a batch."""
    if outcome.sent:
        cursor.execute(_SENT, (outcome.sent,))
    if outcome.refused:
        cursor.execute(_REFUSED, ([task for task, _ in outcome.refused], [reason for _, reason in outcome.refused]))
    cursor.execute(_REACHED, (topic, list(outcome.reached), list(outcome.reached.values())))
    if outcome.doubt is None:
        cursor.execute("DELETE FROM parsers.sending WHERE topic = %s", (topic,))


def doubtful(cursor: Cursor, topic: str) -> float | None:
    """Return the seconds since a batch went out of which nobody knows what came of it; None where there is none."""
    cursor.execute(
        "SELECT extract(epoch FROM clock_timestamp() - since)::float8 FROM parsers.sending WHERE topic = %s", (topic,)
    )
    row = cursor.fetchone()
    return None if row is None else float(row[0])


def offsets(cursor: Cursor, topic: str) -> dict[int, int]:
    """Return up to where each partition of a topic is known."""
    cursor.execute("SELECT partition, next_offset FROM parsers.outbox WHERE topic = %s", (topic,))
    return dict(cursor.fetchall())
