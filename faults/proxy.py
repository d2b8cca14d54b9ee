"""A TCP proxy on loopback whose network can go silent: nothing comes through, nobody is told."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Proxy:
    """Passes bytes on between its own port, at `address`, and `target`, while it is not silent."""

    def __init__(self, target: int, address: str = "127.0.0.1") -> None:
        self.target = target
        self.listener = socket.create_server((address, 0))
        self.port = int(self.listener.getsockname()[1])
        self._passing = threading.Event()
        self._passing.set()
        self._closed = False
        self._wires: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._passing.wait()
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
            self._wires += (client, server)
            while not self._closed:
                self._passing.wait()
                for wire in select.select([client, server], [], [], 0.05)[0]:
                    # Between the look and the reading the network may have gone: then these bytes wait for it.
                    self._passing.wait()
                    data = wire.recv(65536)
                    if not data:
                        return
                    (server if wire is client else client).sendall(data)

    @contextmanager
    def silence(self, *, forget: bool) -> Iterator[None]:
        """Swallow everything while the block runs.

        Args:
            forget: whether the connections are gone for good afterwards (a router has forgotten them). Otherwise
                what was sent into the silence arrives late, as TCP repeats it: the statements of the past.
        """
        self._passing.clear()
        wires = list(self._wires)
        try:
            yield
        finally:
            if forget:
                for wire in wires:
                    with contextlib.suppress(OSError):
                        wire.shutdown(socket.SHUT_RDWR)
            self._passing.set()

    def close(self) -> None:
        self._closed = True
        self._passing.set()
        self.listener.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.close()
