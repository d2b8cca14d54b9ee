"""Redis and NATS: quick to start, each on a port and in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from taskiq import BrokerMessage

import brokers
from db import Database
from errors import QueueError
from faults.ports import free_port
from settings import Settings
from tests.daemons import Daemon
from tests.database import Queries
from tests.dispatch.conftest import Start, await_done, each_ran_once, submit
from tests.waiting import wait_for

#: How each server is started, and the scheme of its URL.
SERVERS = {
    "redis": ("redis-server", "--port {port} --bind 127.0.0.1 --dir {folder} --appendonly yes"),
    "nats": ("nats-server", "-p {port} -a 127.0.0.1 -js -sd {folder}"),
}


class Server:
    """A broker other than RabbitMQ; its data lie in a folder of their own."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.url = f"{kind}://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program, options = SERVERS[self.kind]
        command = [shutil.which(program) or program, *options.format(port=self.port, folder=self.folder).split()]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, 30)

    def answers(self) -> bool:
        try:
            brokers.check(Settings(broker_url=self.url))
        except QueueError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """A server with nothing in it."""
    folder.mkdir()
    server = Server(kind, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of the kind that the module of the test names as KIND."""
    with running(request.module.KIND, tmp_path / "broker") as made:
        yield made


@pytest.fixture
def broker_url(server: Server) -> str:
    """BROKER_URL of that server."""
    return server.url


def message(number: int) -> BrokerMessage:
    """A message that says so."""
    return BrokerMessage(task_id=str(number), task_name=brokers.TASK, message=b"%d" % number, labels={})


def hands_jobs_out(start: Start, own: Database, sql: Queries, server: Server) -> None:
    """Run jobs over a broker, and those that wait while it is away and loses everything."""
    daemon = start(Daemon)
    workers = [start(), start()]
    submit(own, count=50)
    await_done(sql, 50)
    server.stop()
    submit(own, count=20)
    daemon.await_line("broker_away", 60)
    shutil.rmtree(server.folder)
    server.folder.mkdir()
    server.start()
    await_done(sql, 70)
    submit(own)
    await_done(sql, 71)
    assert each_ran_once(sql)
    assert [worker.stop() for worker in workers] == [0, 0]
