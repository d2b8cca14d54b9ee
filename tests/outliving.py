"""Whether a process outlives whoever made it."""

from __future__ import annotations

import subprocess
import sys

import psutil

from tests import ROOT
from tests.waiting import PATIENCE

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def ends_with_its_parent(asks: str, seconds: float = PATIENCE) -> bool:
    """Tell whether a process that has done what `asks` says is gone so many seconds after its parent was killed."""
    waits = f"{asks}\nimport time\nprint(flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", PARENT, waits], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        _, alive = psutil.wait_procs([child], timeout=seconds)
        for left in alive:
            left.kill()
        return not alive
