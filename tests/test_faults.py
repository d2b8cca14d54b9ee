"""The fault suite with small numbers: what dies or freezes; and what the large numbers have brought to light."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from types import TracebackType

import psycopg2
import psycopg2.errors
import pytest

import db
import logs
from child import Idle, Orphaned, _Child
from faults.bench import Bench
from faults.server import Server
from settings import Settings
from tests.breaking import bench, nothing_lost, server

__all__ = ["bench", "server"]  # fixtures

# What they start is waited for as long as pytest would wait for them.
pytestmark = pytest.mark.timeout(300)

#: Scenario -> how little of it there is here.
SMALL: dict[str, dict[str, float]] = {
    "kills": {"times": 8},
    "restarts": {"restarts": 2, "terminations": 1},
    "silence": {"times": 2, "seconds": 5, "heartbeat": 1, "export": 3},
    "zombie": {"times": 2},
}


@pytest.mark.parametrize("fault", SMALL)
def test_nothing_is_lost_when_things_break(bench: Bench, fault: str) -> None:
    assert nothing_lost(bench, fault, **SMALL[fault])


# --- what the suite has found -----------------------------------------------------------------------------------------


def test_a_server_that_psycopg2_does_not_know_to_be_gone_is_away() -> None:
    assert db.is_away(psycopg2.DatabaseError("server closed the connection unexpectedly"))
    assert db.is_away(psycopg2.OperationalError("could not connect"))
    assert not db.is_away(psycopg2.errors.UniqueViolation("duplicate key"))
    assert not db.is_away(psycopg2.ProgrammingError("no results to fetch"))


class Deadly:
    """What a COPY goes into; its first row is the last of the server's process."""

    def __init__(self, server: Server, process: int) -> None:
        self.server = server
        self.process: int | None = process

    def write(self, _row: bytes) -> None:
        if self.process is not None:
            self.server.execute(f"SELECT pg_terminate_backend({self.process})")
            self.process = None


def test_what_psycopg2_prints_of_a_copy_that_lost_its_server_is_no_crash(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    printed: list[type[BaseException]] = []

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        printed.append(kind)
        logs._crashed(kind, error, trace)

    monkeypatch.setattr(sys, "excepthook", hook)

    for _ in range(20):
        connection = psycopg2.connect(server.conninfo())
        deadly = Deadly(server, connection.info.backend_pid)
        with pytest.raises(psycopg2.DatabaseError), connection.cursor() as cursor:
            cursor.copy_expert("COPY (SELECT i, repeat('x', 300) FROM generate_series(1, 200000) i) TO STDOUT", deadly)
        connection.close()
    assert set(printed) <= {SystemError}
    assert "crashed" not in caplog.text
    with pytest.raises(ZeroDivisionError) as real:
        1 / 0  # noqa: B018
    logs._crashed(real.type, real.value, real.tb)
    assert "crashed" in caplog.text


def test_a_child_without_its_daemon_takes_that_for_no_error_of_its_job(tmp_path: Path) -> None:
    daemons, own = multiprocessing.Pipe()
    child = _Child(own, 0, "worker", Settings(var_dir=tmp_path), "")
    assert not child.stopping()
    daemons.close()
    with pytest.raises(Orphaned):
        child.stopping()
    with pytest.raises(Orphaned):
        child._tell(Idle(retiring=False, lost=False))
    assert not issubclass(Orphaned, Exception)
    own.close()
