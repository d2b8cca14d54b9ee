"""The peers, each in the best way that its documentation shows, in a process of its own.

An exporting one is run as `python -m benchmarks.peers.NAME CONNINFO QUERY FILE` and prints what `timed` tells.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.memory import peak_memory


def timed(export: Callable[[str, str, str], None]) -> None:
    """Run an export with this process's arguments; print its seconds, the peak memory and the file's size in bytes."""
    conninfo, query, path = sys.argv[1:]
    began = time.perf_counter()
    export(conninfo, query, path)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "memory": peak_memory(os.getpid()), "size": Path(path).stat().st_size}))
