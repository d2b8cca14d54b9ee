"""Every broker that BROKER_URL may name, and what is said of one that cannot be used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import brokers
from db import Database
from errors import QueueError, SettingsError
from faults.server import free_port
from settings import Settings
from tests.conftest import ROOT, Daemon, Queries, environment, wait_for
from tests.dispatch.conftest import Start, await_done, each_ran_once, submit

pytestmark = pytest.mark.timeout(180)

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


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with ExitStack() as stack:
        made = Server(request.param, folder)
        made.start()
        stack.callback(made.stop)
        yield made


@pytest.fixture
def broker_url(server: Server) -> str:
    return server.url


def test_the_others_hand_jobs_out_as_rabbitmq_does(start: Start, own: Database, sql: Queries, server: Server) -> None:
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


def test_a_scheme_leads_to_its_broker() -> None:
    urls = ("amqps://host/", "rediss://host", "nats://host")
    made = [type(brokers.make(Settings(broker_url=url))).__name__ for url in urls]
    assert made == ["RabbitBroker", "RedisBroker", "NatsBroker"]


@pytest.mark.parametrize(
    ("url", "library"), [("amqp://h/", "aio_pika"), ("redis://h", "taskiq_redis"), ("nats://h", "taskiq_nats")]
)
def test_a_client_that_is_not_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, url: str, library: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("broker_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=rf"BROKER_URL: .*{library}.*requirements-broker.txt"):
        brokers.make(Settings(broker_url=url))


def test_a_url_that_its_client_does_not_understand_is_not_repeated() -> None:
    for url in ("amqp://user:hunter2@host:port/", "redis://user:hunter2@host:port"):
        with pytest.raises(SettingsError, match="BROKER_URL") as wrong:
            brokers.make(Settings(broker_url=url))
        assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize("scheme", ["amqp", "redis", "nats"])
def test_a_broker_that_does_not_answer_is_away(scheme: str) -> None:
    with pytest.raises(QueueError, match=r"refused|не отвечает|onnect|111|NoServers"):
        brokers.check(Settings(broker_url=f"{scheme}://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize(
    ("settings", "key"),
    [({}, "BROKER_URL"), ({"broker_url": "http://host"}, "BROKER_URL"), ({"chunk_size": "много"}, "CHUNK_SIZE")],
)
def test_settings_that_make_no_sense_stop_a_worker_with_one_line(
    database: str, tmp_path: Path, settings: dict[str, str], key: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "broker_worker.py")],
        env=environment(database, tmp_path, **settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert key in done.stderr
