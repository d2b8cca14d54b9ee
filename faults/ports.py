"""Ports for servers of one's own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

#: None is below it: there are the well-known ones, and all that browsers refuse (Fetch standard, "bad ports").
FIRST = 10_081


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, nor is likely to before the caller does.

    The kernel takes none of these for connections that leave, the processes of a session of tests have a share each,
    and no process is given one twice.

    Raises:
        StopIteration: none is left.
    """
    return next(_ports)


def _free() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = _quiet()[worker % workers :: workers]
    begin = os.getpid() * 101 % len(share)  # beside another session, whose shares are the same
    for port in share[begin:] + share[:begin]:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _quiet() -> list[int]:
    """Return the ports from `FIRST` on that the kernel gives to nobody by itself; all, where it gives all of them."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    return [port for port in range(FIRST, 1 << 16) if not first <= port <= last] or [*range(FIRST, 1 << 16)]


_ports = _free()
