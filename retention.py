"""Files that nobody needs any more: downloaded, hidden by their user, older than kept; and what jobs still need."""

import contextlib
import time
from dataclasses import dataclass

import psycopg2

import statuses
import storage
from db import Cursor, Database, DatabaseAway
from errors import StorageError, StoreAway, StoreRefused, UserError
from logs import log
from object_store import ObjectStore
from prepared import Prepared
from settings import Settings

#: Rows looked at by one call; the next second takes the next ones.
BATCH = 200
#: Seconds after which a call takes no further row: the loop has more to do, and its lease to renew.
PURGE_SECONDS = 1.0

# Rows whose file may go, whether the queue made it, and whether they were clicked. The order is an index's: however
# many rows the planner takes for that old, it does not read the table for them.
_DOOMED = Prepared(
    "tksva_q_doomed",
    f"""
(SELECT id AS post_id, NULL::bigint AS job_id, user_id, file_to_download AS name, true AS ours, false AS clicked
 FROM post
 WHERE task_status = 'файл подготовлен' AND task_status_timestamp < localtimestamp - make_interval(secs => %(keep)s)
 ORDER BY task_status_timestamp LIMIT {BATCH})
UNION ALL
(SELECT post.id, NULL, user_id, file_to_download,
        task_status = 'файл загружен'
        OR EXISTS (SELECT FROM tksva_q.job WHERE job.post_id = post.id AND job.state = 'done')
        OR NOT EXISTS (SELECT FROM tksva_q.job WHERE job.post_id = post.id),
        true
 FROM tksva_q.download JOIN post ON post.id = download.post_id
 WHERE task_status IN ('файл загружен', 'скрыта пользователем')
   AND seen_at < clock_timestamp() - make_interval(secs => %(grace)s)
 LIMIT {BATCH})
UNION ALL
(SELECT NULL, id, user_id, file_name, true, false FROM tksva_q.job
 WHERE state = 'done' AND post_id IS NULL AND purged_at IS NULL AND file_name IS NOT NULL
   AND finished_at < now() - make_interval(secs => %(keep)s)
 ORDER BY finished_at LIMIT {BATCH})
""",  # noqa: S608 -- put together from this file's own constants
)

# Living rows of the same user that name the same file: it is not deleted under them. Asked when the row itself is
# marked as purged already, and by one transaction at a time for a file, so that the last row takes the file with it.
_LIVING = """
SELECT EXISTS (SELECT FROM post WHERE user_id = %(user)s AND file_to_download = %(name)s
    AND task_status NOT IN ('скрыта менеджером очереди', 'скрыта пользователем', 'ошибка'))
  OR EXISTS (SELECT FROM tksva_q.job WHERE user_id = %(user)s AND file_name = %(name)s
    AND post_id IS NULL AND purged_at IS NULL AND state IN ('waiting', 'running', 'done'))
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, %(user)s))"
_IF_NOBODY_ELSE = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(name)s, %(user)s))"

# A purge waits for nobody: whoever left a row locked, in a psql that stays open, would hold up the loop. The row of
# `post` is taken when none of its jobs was passed over.
_MARK_JOB = """
UPDATE tksva_q.job SET purged_at = now() WHERE id IN (
    SELECT id FROM tksva_q.job WHERE state = 'done' AND purged_at IS NULL AND (id = %(job)s OR post_id = %(post)s)
    FOR NO KEY UPDATE SKIP LOCKED)
"""
_MARK_POST = """
UPDATE post SET task_status = %(purged)s, task_status_timestamp = localtimestamp WHERE id IN (
    SELECT id FROM post WHERE id = %(post)s AND task_status = ANY(%(of)s)
      AND NOT EXISTS (SELECT FROM tksva_q.job WHERE post_id = post.id AND state = 'done' AND purged_at IS NULL)
    FOR NO KEY UPDATE SKIP LOCKED)
"""

# The web UI leaves no time of the click: the grace begins when the queue first sees it, and with every new file anew.
_SEE = Prepared(
    "tksva_q_see",
    f"""
WITH gone AS (
    DELETE FROM tksva_q.download WHERE NOT EXISTS (SELECT FROM post
        WHERE post.id = download.post_id AND task_status IN ('файл загружен', 'скрыта пользователем'))
)
INSERT INTO tksva_q.download (post_id)
SELECT id FROM post WHERE task_status IN ('файл загружен', 'скрыта пользователем')
  AND NOT EXISTS (SELECT FROM tksva_q.download WHERE post_id = post.id)
LIMIT {BATCH}
ON CONFLICT DO NOTHING
""",  # noqa: S608 -- put together from this file's own constants
)

# A row that its user hid while it waited or ran: nobody can fetch the file.
_UNWANTED = Prepared(
    "tksva_q_unwanted",
    f"""
SELECT job.id FROM post JOIN tksva_q.job ON job.post_id = post.id
WHERE post.task_status = 'скрыта пользователем' AND job.state IN ('waiting', 'running') AND NOT job.cancel
LIMIT {BATCH}
""",  # noqa: S608 -- put together from this file's own constants
)


@dataclass(frozen=True)
class Purged:
    """A file that was purged."""

    post_id: int | None
    job_id: int | None
    user_id: int
    name: str
    size: int | None  # bytes; None where the file stays for another row or was gone already
    fault: str | None = None  # why the file is still there, where it could not be deleted

    def tell(self) -> None:
        """Write the line of the log."""
        file = {"post": self.post_id, "job": self.job_id, "user": self.user_id, "file": self.name, "bytes": self.size}
        if self.fault is None:
            log.info("file_purged", extra=file)
        else:
            log.error("file_not_deleted", extra=file | {"reason": self.fault})


class _PassedOver(Exception):
    """Somebody else has a row or the file in hand, or was quicker; the next call finds what is left."""


def unwanted(cursor: Cursor) -> list[int]:
    """Return the jobs that wait or run for a row that its user has hidden."""
    _UNWANTED.run(cursor)
    return [int(row[0]) for row in cursor.fetchall()]


def live(cursor: Cursor) -> list[int]:
    """Return the ids of all jobs whose part files may still be needed."""
    cursor.execute("SELECT id FROM tksva_q.job WHERE state IN ('waiting', 'running') AND attempt > 0")
    return [int(row[0]) for row in cursor.fetchall()]


def uploads(cursor: Cursor) -> set[str]:
    """Return the ids of the uploads that jobs are about to complete, see `publishing`."""
    cursor.execute(
        "SELECT cursor ->> 'upload' FROM tksva_q.job"
        " WHERE state IN ('waiting', 'running') AND cursor ->> 'upload' IS NOT NULL"
    )
    return {str(row[0]) for row in cursor.fetchall()}


def purge(database: Database, settings: Settings, store: ObjectStore | None = None) -> list[Purged]:
    """Delete the files that were clicked long enough ago or have expired, and say so in their rows.

    The file goes inside the transaction that changes its row: after a crash in between, the row is found again,
    and a file that is gone already is no error. At most BATCH rows of a kind are looked at, in about PURGE_SECONDS; the
    next call goes on.

    Args:
        database: the job table's.
        settings: of this installation.
        store: that of FILES_URL, from whoever has the time to wait for it. Without it nothing of an installation that
            has one is purged: the loop must not stand still for a store.

    Raises:
        StoreAway, DatabaseAway: one of them does not answer, and nothing was purged yet; the row is found again.
    """
    if settings.files_url and store is None:
        return []
    keep = settings.how_many_hours_to_store * 3600
    with database.statement() as cursor:
        _SEE.run(cursor)
    with database.statement() as cursor:
        _DOOMED.run(cursor, {"keep": keep, "grace": settings.download_grace_seconds})
        doomed = cursor.fetchall()
    purged: list[Purged] = []
    until = time.monotonic() + PURGE_SECONDS
    for row in doomed:
        try:
            one = _purge(database, settings, store, row)
        except (StoreAway, DatabaseAway, psycopg2.Error):
            if not purged:
                raise
            break  # the next call finds out; what is gone already is told
        except StoreRefused as error:  # of this file: the row stays, others may go
            one = Purged(row[0], row[1], row[2] or 0, row[3] or "", None, str(error))
        if one is not None:
            purged.append(one)
        if time.monotonic() > until:
            break
    return purged


def _purge(
    database: Database,
    settings: Settings,
    store: ObjectStore | None,
    row: tuple[int | None, int | None, int | None, str | None, bool, bool],
) -> Purged | None:
    post_id, job_id, user_id, name, ours, clicked = row
    file = {"user": user_id, "name": name}
    size, fault = None, None
    try:
        with database.transaction() as cursor:
            cursor.execute(_IF_NOBODY_ELSE, file)
            if cursor.fetchone() == (False,) or not _mark(cursor, post_id, job_id, clicked=clicked):
                raise _PassedOver  # and what was marked by halves is as it was
            if ours and user_id is not None and name:
                cursor.execute(_LIVING, file)
                if cursor.fetchone() == (False,):
                    try:
                        size = _delete(settings, store, user_id, name)
                    except StorageError as error:  # the row goes all the same: the next look must not find it again
                        fault = str(error)
    except _PassedOver:
        return None
    return Purged(post_id, job_id, user_id or 0, name or "", size, fault)


def _delete(settings: Settings, store: ObjectStore | None, user_id: int, name: str) -> int | None:
    stored = None
    if store is not None:
        with contextlib.suppress(UserError):  # under such a name no file was ever made
            stored = store.delete(store.key(user_id, storage.check_name(name)))
    here = storage.purge(settings.files_dir, user_id, name)  # also beside a store: it may be new, and the file old
    return here if stored is None else stored


def _mark(cursor: Cursor, post_id: int | None, job_id: int | None, *, clicked: bool) -> bool:
    """Say in its rows that a file is purged; tell whether that could be done without waiting for anybody.

    A row that was found expired and is clicked by now gets its grace.
    """
    cursor.execute(_MARK_JOB, {"job": job_id, "post": post_id})
    if post_id is None:
        return cursor.rowcount > 0
    of = [statuses.DOWNLOADED, statuses.HIDDEN_BY_USER] if clicked else [statuses.PREPARED]
    cursor.execute(_MARK_POST, {"post": post_id, "purged": statuses.PURGED, "of": of})
    marked = cursor.rowcount > 0
    cursor.execute("DELETE FROM tksva_q.download WHERE post_id = %s", (post_id,))
    return marked
