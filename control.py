"""What a person may do to a job, by whichever door they come: submit, cancel, retry."""

import json
from datetime import datetime
from typing import Any

import jobs
import processings
import queueing
import storage
from db import Cursor, Database
from errors import UserError
from settings import Settings


def submit(  # noqa: PLR0913 -- what a request consists of
    database: Database,
    form: str,
    params: dict[str, Any],
    *,
    user_id: int | None = None,
    file_name: str | None = None,
    priority: int = 5,
    run_at: datetime | None = None,
    time_limit: float | None = None,
    max_attempts: int | None = None,
    pause_seconds: float | None = None,
) -> int:
    """Queue a job after the checks that a row of `post` goes through; see `queueing.submit`. Return its id.

    Raises:
        UserError: it cannot become a job.
    """
    wanted = processings.find(form)
    table = processings.examine(form, json.dumps(params), file_name)
    if wanted.makes_file and user_id is None:
        raise UserError("user_id: не указан, чей это файл")
    with database.transaction() as cursor:
        return queueing.submit(
            cursor,
            form,
            params,
            user_id=user_id,
            file_name=file_name,
            dwh_table=table,
            priority=priority,
            run_at=run_at,
            time_limit=time_limit,
            max_attempts=max_attempts,
            pause_seconds=pause_seconds,
        )


def cancel(database: Database, settings: Settings, job_id: int, *, wait: bool = True) -> jobs.State | None:
    """End a waiting job now and remove what it has prepared; have a running one stopped within a second.

    Args:
        database: the job table's.
        settings: of this installation.
        job_id: of the job.
        wait: while somebody holds the job's row, or that of `post`.

    Returns:
        The state in which the job was; None where there is no such job or it has ended already.

    Raises:
        RowHeld: that somebody does, and the caller would not wait.
    """
    with database.transaction() as cursor:
        if not wait:
            jobs.lock_or_leave(cursor, job_id)
        was = queueing.cancel(cursor, job_id)
        cursor.execute("SELECT user_id, attempt FROM tksva_q.job WHERE id = %s", (job_id,))
        row = cursor.fetchone()
    if was == "waiting" and row and row[0] is not None:
        storage.remove_parts(settings.files_dir, row[0], job_id, row[1])
    return was


def retry(database: Database, job_id: int | None = None) -> list[int]:
    """Queue a failed or cancelled job again, or every failed one when `job_id` is None; return what was queued."""
    with database.transaction() as cursor:
        _examine_again(cursor, job_id)
        return queueing.retry(cursor, job_id)


def _examine_again(cursor: Cursor, job_id: int | None) -> None:
    """Find out which table a job reads that was refused when it came in, and that this code may accept."""
    cursor.execute(
        "SELECT id, form, params::text, file_name FROM tksva_q.job"
        " WHERE state = 'failed' AND attempt = 0 AND dwh_table IS NULL AND (%(id)s IS NULL OR id = %(id)s)",
        {"id": job_id},
    )
    for refused, form, params, file_name in cursor.fetchall():
        try:
            table = processings.examine(form, params, file_name)
        except Exception:  # noqa: S112 -- it will fail again, for the same reason, and then say it
            continue
        cursor.execute("UPDATE tksva_q.job SET dwh_table = %s WHERE id = %s", (table, refused))
