"""What systemd is told: that the service is ready, that its loop lives, that it stops (sd_notify(3))."""

import contextlib
import os
import socket
import time

#: Seconds that a service manager with no room for a message is waited for.
SEND_SECONDS = 1.0


def notify(state: str) -> bool:
    """Send `state` (`READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…`); False where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.settimeout(SEND_SECONDS)
        wire.sendto(state.encode(), address)
        return True
    return False


class Watchdog:
    """The signs of life that a unit with WatchdogSec owes: three in the time after which systemd restarts it."""

    def __init__(self) -> None:
        self._period = int(os.environ.get("WATCHDOG_USEC") or 0) / 3e6  # seconds; 0: nobody waits for them
        self.due = 0.0 if self._period else float("inf")  # monotonic seconds

    def feed(self) -> None:
        """Send a sign where one is due; call it wherever the loop has shown that it still goes round."""
        if time.monotonic() >= self.due:
            notify("WATCHDOG=1")
            self.due = time.monotonic() + self._period
