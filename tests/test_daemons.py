"""How the tests' own daemons end, whatever becomes of them."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.daemons import daemons


def test_every_daemon_is_ended_also_where_the_end_of_another_fails(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="outlives"), daemons(database, tmp_path) as start:
        first, middle, last = start(), start(), start()
        gone = middle._gone

        def fail() -> None:
            gone()
            raise AssertionError("somebody outlives the daemon")

        monkeypatch.setattr(middle, "_gone", fail)
    assert not any(psutil.pid_exists(daemon.pid) for daemon in (first, last))


def test_a_daemon_that_does_not_stop_is_killed_and_nothing_of_it_is_left(database: str, tmp_path: Path) -> None:
    with daemons(database, tmp_path) as start:
        daemon = start()
        daemon.process.send_signal(signal.SIGSTOP)
        with pytest.raises(AssertionError, match="did not stop within"):
            daemon.stop(0.1)
        assert daemon.process.returncode == -signal.SIGKILL
        assert not daemon._reader.is_alive()
        assert daemon.process.stdout
        assert daemon.process.stdout.closed
