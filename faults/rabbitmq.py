"""A RabbitMQ of the suite's own, on free ports of loopback: stopped, started, and its data wiped in between."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aio_pika import connect
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.commands import Queue

from brokers import QUEUE
from faults.ports import free_port

#: Where Debian's and RabbitMQ's own packages put the script that starts it as whoever calls it.
_PLACES = ("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
#: Seconds within which it is up, or never will be.
PATIENCE = 120.0
HELLO = b"AMQP\0\0\x09\x01"


class RabbitMQ:
    """The server, made and started by `running_rabbitmq`; `url` is what goes into BROKER_URL."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self.address = address
        self.port, self._distribution, self._epmd_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@{address}:{self.port}/"
        (folder / "rabbitmq.conf").write_text("loopback_users = none\n")
        self._environment = os.environ | {
            "HOME": str(folder),  # for Erlang's cookie
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_NODENAME": f"tksva_q_{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": address,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "flags"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        if self._epmd is None:  # or Erlang would start one that outlives everybody
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"], env=self._environment
            )
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [script()], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "output").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), 1) as wire:
                wire.settimeout(2)
                wire.sendall(HELLO)
                return bool(wire.recv(1))
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it, by itself or by SIGKILL."""
        if self._server is None:
            return
        with suppress(ProcessLookupError):  # the script, Erlang, and its helpers are a session of their own
            os.killpg(self._server.pid, number)
        try:
            self._server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
        self._server = None

    def wipe(self) -> None:
        """Take away everything that the stopped server has kept."""
        shutil.rmtree(self.folder / "data")
        (self.folder / "flags").unlink(missing_ok=True)

    def purge(self) -> None:
        """Take away the queue with whatever is in it; whoever needs it declares it again."""

        async def delete() -> None:
            async with await connect(self.url) as connection:
                for name in (QUEUE, f"{QUEUE}.dead"):
                    await (await connection.channel()).queue_delete(name)

        asyncio.run(delete())

    def waiting(self) -> int:
        """Return how many messages nobody has taken yet."""
        return asyncio.run(self._declared(QUEUE)).message_count or 0

    def consumers(self, queue: str) -> int:
        """Return how many listen to a queue; 0 where there is none of that name."""
        try:
            return asyncio.run(self._declared(queue)).consumer_count or 0
        except ChannelNotFoundEntity:
            return 0

    async def _declared(self, queue: str) -> Queue.DeclareOk:
        async with await connect(self.url) as connection:
            return (await (await connection.channel()).get_queue(queue)).declaration_result

    def close(self) -> None:
        """Stop it and what belongs to it."""
        self.stop()
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait()


def script() -> str:
    """Return the path of the script that starts RabbitMQ."""
    found = [path for place in _PLACES for path in sorted(Path("/").glob(place[1:]))]
    if not found:
        raise RuntimeError("rabbitmq-server is needed: make system")
    return str(found[0])


@contextmanager
def running_rabbitmq(address: str = "127.0.0.1") -> Iterator[RabbitMQ]:
    """A server with nothing in it; it is gone, with all it held, at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tksva_q-rabbitmq-"))
    server = RabbitMQ(folder, address)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
