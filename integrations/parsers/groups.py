"""Groups of tasks: made when their interval has passed, cancelled when they hang."""

from dataclasses import dataclass

from db import Cursor

#: Key of the advisory lock under which generations come one after the other ("parsers" in ASCII).
GENERATION_LOCK = 0x70617273657273

_DUE = """
CREATE TEMPORARY TABLE due ON COMMIT DROP AS
SELECT s.id AS source_id, s.type AS source_type, t.id AS task_type_id, t.timeout_seconds
FROM parsers.source_task_type st
JOIN parsers.source s ON s.id = st.source_id
JOIN parsers.task_type t ON t.id = st.task_type_id
WHERE st.is_active AND s.is_active AND t.is_active AND NOT EXISTS (
    SELECT FROM parsers.task k JOIN parsers.task_group g ON g.id = k.group_id
    WHERE k.source_id = s.id AND g.task_type_id = t.id
      AND g.planned_for > now() - coalesce(st.interval_seconds, t.interval_seconds) * interval '1 second')
"""
_GROUPS = """
WITH made AS (
    INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)
    SELECT DISTINCT task_type_id, source_type, now(), now() + timeout_seconds * interval '1 second' FROM due
    ON CONFLICT (source_type, task_type_id, planned_for) DO NOTHING RETURNING *
), tasks AS (
    INSERT INTO parsers.task (id, group_id, source_id, payload)
    SELECT new.id, made.id, s.id, jsonb_build_object(
        'task_id', new.id, 'group_id', made.id, 'task_type', t.code,
        'source', jsonb_build_object(
            'id', s.id, 'type', s.type, 'external_id', s.external_id, 'settings', s.settings),
        'created_at', now(), 'expires_at', made.expires_at)
    FROM due JOIN made USING (task_type_id, source_type)
    JOIN parsers.source s ON s.id = due.source_id JOIN parsers.task_type t ON t.id = due.task_type_id
    CROSS JOIN LATERAL (SELECT gen_random_uuid() AS id WHERE due.source_id IS NOT NULL) new
    RETURNING group_id
)
SELECT made.id, t.code, made.source_type, (SELECT count(*) FROM tasks WHERE group_id = made.id)
FROM made JOIN parsers.task_type t ON t.id = made.task_type_id ORDER BY made.id
"""
_CANCEL = """
WITH expired AS (
    UPDATE parsers.task SET status = 'cancelled', finished_at = now(), error = 'срок вышел'
    FROM parsers.task_group g
    WHERE g.id = group_id AND g.expires_at < now() AND status IN ('created', 'sent', 'in_progress')
    RETURNING group_id
)
SELECT count(DISTINCT group_id), count(*) FROM expired
"""


@dataclass(frozen=True)
class Group:
    """A group that was made."""

    id: int
    task_type: str
    source_type: str
    tasks: int


def generate(cursor: Cursor) -> list[Group]:
    """Make tasks for every source and task type whose interval has passed; who comes meanwhile finds nothing due."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (GENERATION_LOCK,))
    cursor.execute(_DUE)
    cursor.execute(_GROUPS)
    return [Group(*row) for row in cursor.fetchall()]


def cancel_expired(cursor: Cursor) -> tuple[int, int]:
    """Cancel what is past its time; return how many groups and tasks that were."""
    cursor.execute(_CANCEL)
    row = cursor.fetchone() or (0, 0)
    return int(row[0]), int(row[1])
