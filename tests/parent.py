"""The other end of a child that runs in a thread of this process."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import child
import jobs
import queueing
from db import Database
from tests.claims import new_worker
from tests.daemons import make_settings
from tests.waiting import PATIENCE


class Parent:
    """The other end of a child that runs in a thread."""

    def __init__(self, conninfo: str, folder: Path) -> None:
        self.database = Database(conninfo, "test")
        self.worker = new_worker(self.database, 600)
        self.channel, theirs = multiprocessing.Pipe()
        self.child = child._Child(theirs, 0, self.worker, make_settings(conninfo, folder, max_attempts=2), conninfo)
        self.thread = threading.Thread(target=self._serve, args=(theirs,))
        self.thread.start()

    def _serve(self, channel: Connection) -> None:
        self.child.serve()
        self.child.database.close()
        channel.close()

    def submit(self, form: str, **columns: object) -> int:
        with self.database.transaction() as cursor:
            return queueing.submit(cursor, form, {}, **columns)  # type: ignore[arg-type]

    def give(self) -> None:
        with self.database.statement() as cursor:
            job = jobs.claim(cursor, self.worker, 0)
        assert job is not None
        self.channel.send(child.Run(job))

    def hear(self) -> object:
        assert self.channel.poll(PATIENCE)
        return self.channel.recv()

    def until_idle(self) -> tuple[list[int], child.Idle]:
        """The ids of the jobs that were started, and the word that nothing runs any more."""
        started = []
        while True:
            message = self.hear()
            if isinstance(message, child.Idle):
                return started, message
            assert isinstance(message, child.Started)
            started.append(message.job.id)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.channel.send(child.Stop())
        self.thread.join(PATIENCE)
        self.channel.close()
        self.database.close()
        assert not self.thread.is_alive(), "the child does not stop"


@pytest.fixture
def parent(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    monkeypatch.setattr(child, "CHILD_MEMORY", 1 << 40)  # the child's process is that of all tests here
    made = Parent(database, tmp_path)
    yield made
    made.close()
