"""Checks that may hang: each runs in a thread that nobody waits for, and what it last found is what is shown."""

import os
import threading
import time
from collections.abc import Callable

import brokers
import disk
import processings
from db import one_line, unforeseen
from dwh import open_warehouse
from errors import QueueError
from findings import Finding
from logs import redact
from settings import Settings
from words import size

#: Seconds for which a finding is good.
FRESH_SECONDS = 10.0
#: Seconds that somebody who asks waits for a check that has just begun.
GRACE_SECONDS = 1.5


class BackgroundCheck:
    """A check that is started when somebody asks and its last finding is old; one at a time.

    Args:
        name: what is looked at, in Russian.
        check: looks at it.
    """

    def __init__(self, name: str, check: Callable[[], Finding]) -> None:
        self.name = name
        self._check = check
        self._finding: Finding | None = None
        self._found = 0.0
        self._began = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Finding:
        """Return the finding, within GRACE_SECONDS whatever the check does."""
        with self._lock:
            now = time.monotonic()
            if self._finding is not None and now - self._found < FRESH_SECONDS:
                return self._finding
            if self._thread is None or not self._thread.is_alive():
                self._began = now
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            thread, began = self._thread, self._began
        thread.join(max(0.0, began + GRACE_SECONDS - time.monotonic()))
        if thread.is_alive():
            return Finding(self.name, False, f"не отвечает {time.monotonic() - began:.0f} с")
        return self._finding or Finding(self.name, False, "проверка не закончилась")

    def _run(self) -> None:
        try:
            finding = self._check()
        except (QueueError, OSError) as error:
            finding = Finding(self.name, False, redact(one_line(error)))
        except Exception as error:  # else what was found before would be shown for ever
            finding = Finding(self.name, False, redact(unforeseen(error)))
        self._finding = finding
        self._found = time.monotonic()


def warehouse_check(settings: Settings) -> Finding:
    """Ask the warehouse for the columns of every table that a form reads."""
    warehouse = open_warehouse(settings)
    try:
        tables = sorted({entry.reads for entry in processings.REGISTER.values() if entry.reads})
        columns = [f"{table}: столбцов {len(warehouse.columns(table))}" for table in tables]
    finally:
        warehouse.close()
    return Finding("хранилище", True, "; ".join(columns) or "таблиц нет")


def broker_check(settings: Settings) -> Finding:
    """Connect to the broker that jobs are handed out over."""
    brokers.check(settings)
    return Finding("брокер", True, "отвечает")


def disk_check(settings: Settings) -> Finding:
    """Look how much room there is for files."""
    room = disk.room(settings.files_dir)
    ok = os.access(disk.existing(settings.files_dir), os.W_OK) and not room.little
    return Finding("диск", ok, f"свободно {size(room.free)}, {room.share:.0%}")
