"""Tidies up the store of FILES_URL beside the loop, in a thread of its own: a store may take its time, a loop not.

Files that nobody needs any more go once a poll; uploads and part files that a crash has left behind, once an hour.
"""

import datetime
import random
import threading
import time
from typing import NoReturn

import psycopg2

import retention
import storage
from db import Database, DatabaseAway, one_line
from errors import StoreError, StoreRefused
from logs import log
from object_store import ObjectStore, open_store
from settings import Settings

#: Seconds between two looks for what a crash has left behind, and the age below which an upload is not looked at: its
#: job may not have recorded it yet, and two machines' clocks differ.
SWEEP_SECONDS = 3600.0
#: Seconds between two tries while the store does not answer or refuses: from the first to the longest.
AWAY_SECONDS = (1.0, 60.0)
#: What is said once when something begins to fail -> and when it does no longer.
_OVER = {"store_away": "store_back", "file_not_deleted": "store_back", "purge_failed": "purge_goes_on"}


def start(settings: Settings, conninfo: str) -> None:
    """Start the thread where there is a store to tidy up; it ends with the process."""
    if settings.files_url:
        _Janitor(settings, conninfo).start()


class _Janitor(threading.Thread):
    def __init__(self, settings: Settings, conninfo: str) -> None:
        super().__init__(name="janitor", daemon=True)
        self.settings = settings
        self.database = Database(conninfo, "tksva_q janitor")
        self.sweep_at = time.monotonic()
        self.failures = 0  # one after the other
        self.said: set[str] = set()  # what fails

    def run(self) -> NoReturn:
        """Work for as long as the process lives."""
        while True:
            ok = False
            try:
                store = open_store(self.settings)
                assert store is not None  # noqa: S101 -- see `start`
                ok = self._work(store)
            except StoreError as error:
                self._complain("store_away", error)
            except (DatabaseAway, psycopg2.Error) as error:
                self._complain("purge_failed", error)
            except Exception:
                log.exception("janitor_error")
            self.failures = 0 if ok else self.failures + 1
            if ok:
                for over in sorted({_OVER[event] for event in self.said}):
                    log.info(over)
                self.said.clear()
            time.sleep(self._pause())

    def _complain(self, event: str, error: Exception) -> None:
        if event not in self.said:
            log.error(event, extra={"reason": one_line(error)})
            self.said.add(event)

    def _pause(self) -> float:
        if not self.failures:
            return self.settings.poll_seconds
        first, longest = AWAY_SECONDS
        return min(longest, first * 2.0 ** min(self.failures - 1, 10)) * random.uniform(0.7, 1.3)  # noqa: S311 -- jitter

    def _work(self, store: ObjectStore) -> bool:
        """Do what is due; tell whether all of it could be done."""
        said = "file_not_deleted" in self.said
        faults = 0
        for purged in retention.purge(self.database, self.settings, store):
            if purged.fault is None or not said:
                purged.tell()
            faults += purged.fault is not None
        if faults:
            self.said.add("file_not_deleted")
        if time.monotonic() >= self.sweep_at:
            self._sweep(store)
        return not faults

    def _sweep(self, store: ObjectStore) -> None:
        try:
            swept = sweep(self.database, self.settings, store)
        except StoreRefused as error:  # a key may do everything but list uploads: the rest goes on
            log.error("uploads_not_swept", extra={"reason": one_line(error)})
        else:
            if swept:
                log.info("uploads_swept", extra={"uploads": swept})
        self.sweep_at = time.monotonic() + SWEEP_SECONDS


def sweep(database: Database, settings: Settings, store: ObjectStore, age: float = SWEEP_SECONDS) -> int:
    """Take away what crashes have left behind, here and in the store; return how many uploads there were.

    Args:
        database: the job table's.
        settings: of this installation.
        store: that of FILES_URL.
        age: seconds from which an upload that no job knows is abandoned.

    Raises:
        StoreAway, StoreRefused: the store does not answer, or does not let the uploads be listed.
    """

    def live() -> list[int]:
        with database.statement() as cursor:
            return retention.live(cursor)

    # FILES_DIR is this machine's alone: jobs that went on elsewhere have left their part files here.
    storage.sweep(settings.files_dir, live)
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)
    found = [upload for upload in store.uploads() if upload.began <= old]
    # Asked after they were listed: whatever is recorded later belongs to a younger upload.
    with database.statement() as cursor:
        known = retention.uploads(cursor)
    abandoned = [upload for upload in found if upload.id not in known]
    for upload in abandoned:
        store.abort(upload.key, upload.id)
    return len(abandoned)
