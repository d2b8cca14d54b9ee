"""Which partitions a consumer reads: shared out among the daemons by locks in the database, where the offsets are, too.

A lock goes with its connection: the partitions of a consumer that was killed are free at once. Kafka's own groups hand
them on only after the dead member's session, three quarters of a minute later.
"""

import zlib
from collections.abc import Iterable
from math import ceil

from db import Cursor

#: In place of a partition's number: that somebody reads the topic at all.
MEMBER = -1

_MEMBERS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = %s AND objid::bigint = %s
"""


def _key(topic: str) -> int:
    """Return the topic's key among the advisory locks: a signed number of four bytes."""
    return int.from_bytes(zlib.crc32(f"tksva_q {topic}".encode()).to_bytes(4, "big"), "big", signed=True)


def join(cursor: Cursor, topic: str) -> None:
    """Be counted among those that read a topic, for as long as the connection lives."""
    cursor.execute("SELECT pg_try_advisory_lock_shared(%s, %s)", (_key(topic), MEMBER))


def members(cursor: Cursor, topic: str) -> int:
    """Return how many read a topic."""
    cursor.execute(_MEMBERS, (_key(topic) % 2**32, MEMBER % 2**32))
    return int((cursor.fetchone() or (0,))[0])


def share(cursor: Cursor, topic: str, partitions: Iterable[int], held: Iterable[int]) -> set[int]:
    """Take free partitions up to this one's share of them, give back what is beyond it; return what is held now.

    Args:
        cursor: of the connection that holds the locks, and has joined.
        topic: whose partitions they are.
        partitions: all of them.
        held: by this connection so far.
    """
    wanted, kept = sorted(partitions), sorted(set(held))
    fair = ceil(len(wanted) / max(1, members(cursor, topic)))
    for number in kept[fair:]:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (_key(topic), number))
    kept = kept[:fair]
    for number in wanted:
        if len(kept) < fair and number not in kept:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (_key(topic), number))
            if (cursor.fetchone() or (False,))[0]:
                kept.append(number)
    return set(kept)
