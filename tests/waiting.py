"""Waiting for what comes by itself: how long, and how much longer where the machine is busy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from faults import daemon

#: Seconds within which whatever comes at all has come, on a busy machine too. It promises no speed.
PATIENCE = 60.0
#: How many times as long a busy machine may take: a promise of speed is multiplied by it.
BUSY = 5


def busy(seconds: float) -> float:
    """A time that the contract promises on a machine with nothing else to do: as long as this one takes for it now."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(probe: Callable[[], Any], seconds: float = PATIENCE, complaint: Callable[[], str] | None = None) -> Any:
    """Ask as the faults do, but no longer than a test may last: what did not come is said before it is ended."""
    return daemon.wait_for(probe, complaint or "what is waited for", seconds)


def join(*threads: threading.Thread) -> None:
    """Wait until threads have ended."""
    for thread in threads:
        thread.join(PATIENCE)
    assert not [thread.name for thread in threads if thread.is_alive()]
