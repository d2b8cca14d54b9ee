"""A process that outlives the worker's for a moment: it ends in the server what a killed worker was waiting for.

A server that sorts or counts listens to nobody until it is done, so a connection that is gone ends nothing there
(18.16 at least); `KILL QUERY` does, at once. The guard waits for the end of its input: whoever dies, closes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Seconds that the guard is given to end the queries when the worker itself abandons them.
PATIENCE = 10


class Guard:
    """Watches over the queries whose ids begin with `prefix`."""

    def __init__(self, options: dict[str, Any], prefix: str) -> None:
        """Start the process; the connection's options go by its input, for a command line is everybody's to read."""
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__)), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self._tell({"options": options, "prefix": prefix})

    def end(self, *, kill: bool) -> None:
        """End the guard, and before it, where `kill`, the queries."""
        if not kill:
            self._tell({})
        # A server that says nothing is no reason either; the guard's own limits end it.
        with suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=PATIENCE)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # no guard is no reason to stop
            if self._process.stdin:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()


def main() -> None:
    """Wait for the end of the input; kill the queries unless a second line says that there are none."""
    first, *others = sys.stdin.readlines()
    if others:
        return
    sys.path[:] = sys.argv[1:]
    from clickhouse_driver import Client  # type: ignore[import-untyped] # noqa: PLC0415 -- hardly ever needed

    asked = json.loads(first)
    client = Client(**asked["options"])
    client.execute("KILL QUERY WHERE startsWith(query_id, %(prefix)s) ASYNC", {"prefix": asked["prefix"]})
    client.disconnect()


if __name__ == "__main__":
    main()
