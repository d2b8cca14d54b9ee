"""Processes that end with whoever made them."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from tests.conftest import ROOT

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("asks", ["import fork_server", "import parent_death; parent_death.end_with_parent()"])
def test_a_process_that_asks_the_kernel_ends_with_its_parent_however_that_ends(asks: str) -> None:
    waits = f"{asks}\nimport time\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", PARENT, waits], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        _, alive = psutil.wait_procs([child], timeout=5)
        assert alive == []
