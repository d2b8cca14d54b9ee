"""What of a command, and of all that it has started, is still there."""

from __future__ import annotations

from pathlib import Path

import psutil


def left(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder, the test's own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
