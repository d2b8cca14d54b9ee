"""Machines of their own: network namespaces, each with a cable to this one that can be cut."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from faults.proxy import Proxy

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_numbers = itertools.count(1)


def obstacle() -> str:
    """Return why there can be no machines here; nothing where there can."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    able = all(capabilities >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))
    return "" if able else "network namespaces need root"


class Machine:
    """A machine; what this one listens to at `port` on loopback, it reaches at `address` and `self.reach(port)`."""

    def __init__(self, name: str, address: str, proxies: ExitStack) -> None:
        self.name = name
        self.address = address
        self._proxies = proxies

    def program(self, *words: str) -> tuple[str, ...]:
        """Return the command line that runs a program over there."""
        return ("ip", "netns", "exec", self.name, *words)

    def reach(self, port: int) -> int:
        """Return the port at which the machine reaches a port of loopback here."""
        proxy = Proxy(port, self.address)
        self._proxies.callback(proxy.close)
        return proxy.port

    def cut(self) -> None:
        """Cut the cable: nothing comes through, nobody is told."""
        _ip("link", "set", f"{self.name}h", "down")

    def join(self) -> None:
        """Mend the cable."""
        _ip("link", "set", f"{self.name}h", "up")


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine of its own, with its cable; both are gone at the end."""
    number = next(_numbers)
    name = f"tq{os.getpid() % 100000}x{number}"
    net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    here, there = f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}"
    _ip("netns", "add", name)
    try:
        # IPv6 would take a while to look for others that have its address.
        _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "out", "netns", name)
        _ip("address", "add", f"{here}/30", "dev", f"{name}h")
        _ip("link", "set", f"{name}h", "up")
        _ip("-n", name, "address", "add", f"{there}/30", "dev", "out")
        _ip("-n", name, "link", "set", "out", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        with ExitStack() as proxies:
            yield Machine(name, here, proxies)
    finally:
        _ip("netns", "del", name)  # and with it both ends of the cable


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
