"""How far a job is: recorded page by page for a successor and for the journal, and shown in `post`."""

import json
from dataclasses import dataclass
from typing import Any

import statuses
from db import Cursor
from errors import Cancelled, LostJob
from jobs import LEASED, Fence
from prepared import Prepared


@dataclass(frozen=True)
class PageRecord:
    """What a page did, for the journal."""

    number: int
    rows: int
    bytes: int
    seconds: dict[str, float]  # step -> seconds: fetch, format, compress, write


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    rows: int  # in the part file
    total: int  # counted at the start
    bytes: int  # of the part file
    position: dict[str, Any]  # from where a successor goes on, as JSON
    page: PageRecord | None = None  # the page that was just written


_RECORD = Prepared(
    "tksva_q_progress",
    f"""
WITH j AS (
    UPDATE tksva_q.job SET rows = %(rows)s, total = %(total)s, bytes = %(bytes)s, cursor = %(cursor)s::json
    WHERE id = %(id)s AND attempt = %(attempt)s AND worker = %(worker)s AND state = 'running'
      AND {LEASED}
    RETURNING id, post_id
), p AS (
    UPDATE post SET task_status = %(status)s, task_status_timestamp = localtimestamp FROM j
    WHERE post.id = j.post_id AND (post.task_status = 'в очереди' OR post.task_status LIKE 'загружено %%')
    RETURNING post.id
), page AS (
    INSERT INTO tksva_q.page (job_id, attempt, page, rows, bytes, seconds)
    SELECT j.id, %(attempt)s, %(page)s::int, %(page_rows)s::int, %(page_bytes)s::bigint, %(seconds)s::json FROM j
    WHERE %(page)s > 0
)
SELECT (SELECT count(*) FROM j), (SELECT count(*) FROM j WHERE post_id IS NULL) + (SELECT count(*) FROM p)
""",  # noqa: S608 -- put together from this project's own constants
)


def record(cursor: Cursor, fence: Fence, made: Progress) -> None:
    """Record what is in the part file and where the next page begins, and show it in `post`.

    Raises:
        LostJob: another worker owns the job, or this worker's lease has run out.
        Cancelled: the row of `post` was hidden by its user or deleted.
    """
    page = made.page
    _RECORD.run(
        cursor,
        {
            "id": fence.job_id,
            "attempt": fence.attempt,
            "worker": fence.worker,
            "rows": made.rows,
            "total": made.total,
            "bytes": made.bytes,
            "cursor": json.dumps(made.position),
            "status": statuses.loading(made.rows, made.total),
            "page": page.number if page else 0,
            "page_rows": page.rows if page else 0,
            "page_bytes": page.bytes if page else 0,
            "seconds": json.dumps(page.seconds) if page else None,
        },
    )
    owned, shown = cursor.fetchone() or (0, 0)
    if not owned:
        raise LostJob("the job is no longer this worker's")
    if not shown:
        raise Cancelled("строка скрыта пользователем или удалена")
