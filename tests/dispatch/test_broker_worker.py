"""The command that starts a worker: settings that make no sense stop it before TaskIQ is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.daemons import environment

#: The two ways to start it.
ITSELF = ("broker_worker.py",)
TASKIQ = ("-c", "import broker_worker; broker_worker.broker()")


@pytest.mark.parametrize("command", [ITSELF, TASKIQ])
@pytest.mark.parametrize(
    ("settings", "key"),
    [({}, "BROKER_URL"), ({"broker_url": "http://host"}, "BROKER_URL"), ({"chunk_size": "много"}, "CHUNK_SIZE")],
)
def test_settings_that_make_no_sense_stop_a_worker_with_one_line(
    database: str, tmp_path: Path, command: tuple[str, ...], settings: dict[str, str], key: str
) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(database, tmp_path, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert key in done.stderr
