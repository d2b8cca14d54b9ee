"""Checks that may hang: each runs in a thread that nobody waits for, and what it last found is what is shown."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import brokers
import processings
from db import one_line, unforeseen
from dwh import open_warehouse
from errors import QueueError
from logs import redact
from settings import Settings

#: Seconds for which a finding is good.
FRESH_SECONDS = 10.0
#: Seconds that somebody who asks waits for a check that has just begun.
GRACE_SECONDS = 1.5
#: Free space below which the disk is called full: bytes, and share.
LEAST_BYTES = 1 << 30
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    ok: bool
    text: str
    seconds: float = 0.0  # how long the check took, or has been hanging


class BackgroundCheck:
    """A check that is started when somebody asks and its last finding is old; one at a time."""

    def __init__(self, name: str, check: Callable[[], Finding]) -> None:
        self._name = name
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
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            thread, began = self._thread, self._began
        thread.join(max(0.0, began + GRACE_SECONDS - time.monotonic()))
        if thread.is_alive():
            hanging = time.monotonic() - began
            return Finding(False, f"не отвечает {hanging:.0f} с", hanging)
        return self._finding or Finding(False, "проверка не закончилась")

    def _run(self) -> None:
        try:
            finding = self._check()
        except (QueueError, OSError) as error:
            finding = Finding(False, redact(one_line(error)))
        except Exception as error:  # else what was found before would be shown for ever
            finding = Finding(False, redact(unforeseen(error)))
        self._finding = Finding(finding.ok, finding.text, time.monotonic() - self._began)
        self._found = time.monotonic()


def warehouse_check(settings: Settings) -> Finding:
    """Ask the warehouse for the columns of every table that a form reads."""
    warehouse = open_warehouse(settings)
    try:
        tables = sorted({entry.reads for entry in processings.REGISTER.values() if entry.reads})
        columns = [f"{table}: столбцов {len(warehouse.columns(table))}" for table in tables]
    finally:
        warehouse.close()
    return Finding(True, "; ".join(columns) or "таблиц нет")


def broker_check(settings: Settings) -> Finding:
    """Connect to the broker that jobs are handed out over."""
    brokers.check(settings)
    return Finding(True, "отвечает")


def disk_check(settings: Settings) -> Finding:
    """Look how much room there is for files."""
    folder = _existing(settings.files_dir)
    disk = os.statvfs(folder)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    share = free / size if size else 0.0
    ok = os.access(folder, os.W_OK) and (free >= LEAST_BYTES or share >= LEAST_SHARE)
    return Finding(ok, f"свободно {free / 1e9:.1f} ГБ, {share:.0%}")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
