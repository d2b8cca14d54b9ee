"""Groups of tasks: made when their interval has passed, cancelled when they hang."""

from dataclasses import dataclass
from datetime import datetime

from db import Cursor

#: Key of the advisory lock under which generations come one after the other ("parsers" in ASCII).
GENERATION_LOCK = 0x70617273657273
#: Days for which groups are kept that have ended, and messages that could not be understood.
KEEP_DAYS = 30
#: Groups that one transaction deletes: each may have as many tasks as there are sources.
FORGOTTEN = 10

#: What a parser gets to know of a task; `new`, `made`, `s` and `t` are the task, its group, its source and its type.
_PAYLOAD = """jsonb_build_object(
    'task_id', new.id, 'group_id', made.id, 'task_type', t.code,
    'source', jsonb_build_object('id', s.id, 'type', s.type, 'external_id', s.external_id, 'settings', s.settings),
    'created_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'expires_at', to_char(made.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""

_GENERATE = f"""
WITH due AS MATERIALIZED (
    SELECT s.id AS source_id, s.type AS source_type, t.id AS task_type_id, t.timeout_seconds, gen_random_uuid() AS id
    FROM parsers.source_task_type st
    JOIN parsers.source s ON s.id = st.source_id
    JOIN parsers.task_type t ON t.id = st.task_type_id
    WHERE st.is_active AND s.is_active AND t.is_active AND NOT EXISTS (
        SELECT FROM parsers.task_group g JOIN parsers.task k ON k.group_id = g.id
        WHERE g.source_type = s.type AND g.task_type_id = t.id AND k.source_id = s.id
          AND g.planned_for > %(planned)s - make_interval(secs => coalesce(st.interval_seconds, t.interval_seconds)))
), made AS (
    INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)
    SELECT DISTINCT task_type_id, source_type, %(planned)s, now() + make_interval(secs => timeout_seconds) FROM due
    ON CONFLICT (source_type, task_type_id, planned_for) DO NOTHING RETURNING *
), tasks AS (
    INSERT INTO parsers.task (id, group_id, source_id, payload)
    SELECT new.id, made.id, s.id, {_PAYLOAD}
    FROM due new JOIN made USING (task_type_id, source_type)
    JOIN parsers.source s ON s.id = new.source_id JOIN parsers.task_type t ON t.id = new.task_type_id
    RETURNING group_id
)
SELECT made.id, t.code, made.source_type, (SELECT count(*) FROM tasks WHERE group_id = made.id)
FROM made JOIN parsers.task_type t ON t.id = made.task_type_id ORDER BY made.id
"""  # noqa: S608 -- put together from this file's own constant
_ADD = f"""
INSERT INTO parsers.task (id, group_id, source_id, payload)
SELECT new.id, made.id, s.id, {_PAYLOAD}
FROM (SELECT gen_random_uuid() AS id) new, parsers.task_group made
JOIN parsers.task_type t ON t.id = made.task_type_id
JOIN parsers.source s ON s.id = %(source)s AND s.type = made.source_type
WHERE made.id = %(group)s
RETURNING id
"""  # noqa: S608 -- as above
_CANCEL = """
WITH expired AS (
    SELECT k.id, k.group_id FROM parsers.task k JOIN parsers.task_group g ON g.id = k.group_id
    WHERE g.expires_at < now() AND k.status IN ('created', 'sent', 'in_progress') ORDER BY k.id FOR UPDATE OF k
), cancelled AS (
    UPDATE parsers.task k SET status = 'cancelled', finished_at = now(), error = 'срок вышел'
    FROM expired WHERE k.id = expired.id
)
SELECT count(DISTINCT group_id), count(*) FROM expired
"""
# A source's task stays for as long as its interval lasts: without it the next one would be due at once.
_FORGET = """
DELETE FROM parsers.task_group WHERE id IN (
    SELECT g.id FROM parsers.task_group g JOIN parsers.task_type t ON t.id = g.task_type_id
    WHERE g.planned_for < now() - make_interval(days => %(days)s) AND g.expires_at < now()
      AND NOT EXISTS (SELECT FROM parsers.task k
                      WHERE k.group_id = g.id AND k.status IN ('created', 'sent', 'in_progress'))
      AND NOT EXISTS (
        SELECT FROM parsers.task k JOIN parsers.source_task_type st USING (source_id)
        WHERE k.group_id = g.id AND st.task_type_id = g.task_type_id
          AND g.planned_for > now() - make_interval(secs => coalesce(st.interval_seconds, t.interval_seconds)))
    ORDER BY g.planned_for LIMIT %(most)s FOR UPDATE OF g SKIP LOCKED)
"""
_FOLD = """
WITH old AS (DELETE FROM parsers.task_count RETURNING *)
INSERT INTO parsers.task_count SELECT status, source_type, sum(tasks) FROM old GROUP BY 1, 2 HAVING sum(tasks) <> 0
"""


@dataclass(frozen=True)
class Group:
    """A group that was made."""

    id: int
    task_type: str
    source_type: str
    tasks: int


def generate(cursor: Cursor, planned_for: datetime | None = None) -> list[Group]:
    """Make tasks for every source and task type whose interval has passed; who comes meanwhile finds nothing due.

    Args:
        cursor: in a transaction.
        planned_for: the moment by which intervals are counted, the schedule's own: the job may begin late. None: now.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (GENERATION_LOCK,))
    if planned_for is None:
        # Of this statement: the transaction may have waited for the lock.
        cursor.execute("SELECT statement_timestamp()")
        planned_for = (cursor.fetchone() or (None,))[0]
    cursor.execute(_GENERATE, {"planned": planned_for})
    return [Group(*row) for row in cursor.fetchall()]


def add(cursor: Cursor, group_id: int, source_id: int) -> str | None:
    """Add a task to a group and return its id; None where the group or a source of its type is not there."""
    cursor.execute(_ADD, {"group": group_id, "source": source_id})
    row = cursor.fetchone()
    return None if row is None else str(row[0])


def cancel_expired(cursor: Cursor) -> tuple[int, int]:
    """Cancel what is past its time; return how many groups and tasks that were."""
    cursor.execute(_CANCEL)
    row = cursor.fetchone() or (0, 0)
    return int(row[0]), int(row[1])


def forget_refused(cursor: Cursor) -> None:
    """Delete the messages that could not be understood and are old."""
    cursor.execute("DELETE FROM parsers.refused WHERE at < now() - make_interval(days => %s)", (KEEP_DAYS,))


def forget_ended(cursor: Cursor) -> int:
    """Delete old groups that have ended, with their tasks; return how many, FORGOTTEN where there may be more."""
    cursor.execute(_FORGET, {"days": KEEP_DAYS, "most": FORGOTTEN})
    return int(cursor.rowcount)


def fold_counts(cursor: Cursor) -> None:
    """Make one row of all that were added to the counts of tasks, for each state and type."""
    cursor.execute(_FOLD)
