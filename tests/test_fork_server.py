"""The fork server's first import, in processes of its own: in this one it would end the tests with their parent."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests import ROOT
from tests.daemons import Start, children_of, job_state, submit
from tests.database import Queries
from tests.outliving import ends_with_its_parent
from tests.waiting import wait_for


def test_whoever_imports_it_ends_with_its_parent_however_that_ends() -> None:
    assert ends_with_its_parent("import fork_server")


def test_it_loads_none_of_the_queues_other_modules() -> None:
    code = "import sys, fork_server; print(*sorted(m for m in sys.modules if hasattr(sys.modules[m], '__file__')))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {path.stem for path in ROOT.glob("*.py")}
    assert ours & set(loaded.split()) == {"fork_server", "parent_death"}


def test_one_that_was_killed_has_a_successor_that_ends_with_the_daemon_too(
    start_daemon: Start, sql: Queries, database: str
) -> None:
    daemon = start_daemon(integrations="testing")  # in a folder of its own: nothing there could be preloaded
    first = wait_for(lambda: children_of(daemon), 60)[0].parent()
    assert first is not None
    first.kill()

    def successors() -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):  # somebody ends while we look
            return [child for child in children_of(daemon) if child.ppid() != first.pid]
        return []

    [child] = wait_for(successors, 60)
    job = submit(database, "endless")
    wait_for(lambda: job_state(sql, job)[0] == "running", 60)
    successor = child.parent()
    assert successor is not None
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{successor.pid}/status").read_text().splitlines())
    assert int(status["SigBlk"], 16) & 1 << signal.SIGINT - 1
    daemon.process.kill()
    _, left = psutil.wait_procs([child, successor], timeout=60)
    for process in left:
        process.kill()
    assert left == []
    daemon.kill()
