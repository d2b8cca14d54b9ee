"""A complete part file becomes a finished file: under its final name in FILES_DIR, or as an object of FILES_URL.

Into the store it goes in three steps: the upload's id is recorded in the job's row; the pieces go up; and the object is
made of them while the database says that the job is still this attempt's. A successor reads the id and takes the upload
away before it does anything else, so that a predecessor that was frozen after its last look has nothing to complete.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import jobs
import retention
from db import CALL_SECONDS
from errors import LostJob, StoreAway, StoreError, StoreRefused
from object_store import COMPLETE_SECONDS, PIECE, PIECES, ObjectStore, Stamp, open_store
from partfile import PartFile, Position, is_published
from tasks import Task

#: Seconds that a purge of the same name may be waited for: its transaction takes db.CALL_SECONDS at most.
WAIT_SECONDS = CALL_SECONDS + 2
#: Seconds of the transaction in which an object is made: the wait, the store's work, a look whether it was done.
TRANSACTION_SECONDS = WAIT_SECONDS + COMPLETE_SECONDS + 8


class Publisher(Protocol):
    """Where the finished file of a job goes."""

    def take_over(self) -> None:
        """Leave earlier attempts with nothing that they could still publish."""

    def is_done(self, part: PartFile | None, left: Position) -> bool:
        """Tell whether what was recorded as complete is published already; what is left of its part file goes."""

    def publish(self, part: PartFile, record: Callable[[dict[str, Any]], None]) -> None:
        """Give the complete file its final name, all of it at once; the part file is gone afterwards.

        Args:
            part: the complete file.
            record: writes what a successor has to know into the job's cursor, as `Task.record` does.

        Raises:
            LostJob: another worker owns the job.
            StoreAway, StoreRefused, StorageError: it is not published; see `errors`.
        """


def publisher(task: Task, folder: int, name: str) -> Publisher:
    """Return where the finished file of this task's job goes: the one place that decides it.

    Args:
        task: an attempt.
        folder: descriptor of the folder in FILES_DIR where the part file is.
        name: of the finished file.
    """
    store = open_store(task.settings)
    return _Folder(folder, name) if store is None else _Store(task, store, name)


class _Folder:
    """FILES_DIR: the part file is renamed."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name

    def take_over(self) -> None:
        """Do nothing: whoever takes the part file over does it."""

    def is_done(self, part: PartFile | None, left: Position) -> bool:
        return part is None and is_published(self._folder, self._name, left)

    def publish(self, part: PartFile, _record: Callable[[dict[str, Any]], None]) -> None:
        part.publish(self._name)


class _Store:
    """FILES_URL: the part file is uploaded and then removed."""

    def __init__(self, task: Task, store: ObjectStore, name: str) -> None:
        self._task = task
        self._store = store
        self._file = {"user": task.job.user_id, "name": name}
        self._key = store.key(task.job.user_id or 0, name)

    def take_over(self) -> None:
        job = self._task.job
        recorded = (job.cursor or {}).get("upload")
        if recorded:
            self._store.abort(self._key, recorded)
        if job.attempt > 1:
            self._forget()

    def _forget(self) -> None:
        """Take away also what is not recorded any more: the job may have failed for good, and been retried."""
        with contextlib.suppress(StoreRefused):  # a key may do everything but list uploads
            begun = [upload.id for upload in self._store.uploads(self._key)]
            with self._task.database.statement() as cursor:
                known = retention.uploads(cursor)  # of other jobs that make a file of this name
            for upload in begun:
                if upload not in known:
                    self._store.abort(self._key, upload)

    def is_done(self, part: PartFile | None, left: Position) -> bool:
        done = self._is_there(left.size, left.crc)
        if done and part is not None:
            part.remove()
        return done

    def publish(self, part: PartFile, record: Callable[[dict[str, Any]], None]) -> None:
        job = self._task.job
        upload = self._store.begin(self._key, Stamp(job.id, job.attempt, part.crc))
        try:
            pieces: list[str] = []
            for number, piece in enumerate(part.pieces(max(PIECE, -(-part.size // PIECES))), 1):
                record({"upload": upload})  # with each piece, so that whoever has lost the job learns it soon
                self._task.may_go_on()
                pieces.append(self._store.send(self._key, upload, number, piece))
            self._complete(part, upload, pieces)
        except FileNotFoundError:
            raise StoreAway(f"{self._store.url}: начатую загрузку кто-то убрал, она начнётся заново") from None
        except BaseException:
            with contextlib.suppress(StoreError):
                self._store.abort(self._key, upload)
            raise
        part.remove()

    def _complete(self, part: PartFile, upload: str, pieces: list[str]) -> None:
        """Make the object while the job is this attempt's, and while nobody purges an older one of its name."""
        with self._task.database.transaction(TRANSACTION_SECONDS) as cursor:
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = %(all)s;"
                " SET LOCAL lock_timeout = %(wait)s; SET LOCAL statement_timeout = %(wait)s",
                {"all": f"{TRANSACTION_SECONDS:.0f}s", "wait": f"{WAIT_SECONDS:.0f}s"},
            )
            cursor.execute(retention.ONE_AT_A_TIME, self._file)
            if not jobs.is_owned(cursor, self._task.job.fence):
                raise LostJob("the job is no longer this worker's")
            try:
                self._store.complete(self._key, upload, pieces)
            except (StoreError, FileNotFoundError):
                if not self._is_there(part.size, part.crc):  # an answer that was lost on its way
                    raise

    def _is_there(self, size: int, crc: int) -> bool:
        found = self._store.find(self._key)
        if found is None or found.stamp is None:
            return False
        return (found.stamp.job_id, found.size, found.stamp.crc) == (self._task.job.id, size, crc)
