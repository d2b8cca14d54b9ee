"""Ports for the servers of the tests: nobody else's, neither now nor a minute later."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from faults import ports
from faults.ports import free_port


def test_no_port_is_given_twice_and_the_kernel_gives_none_of_them() -> None:
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == 100
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in given if first <= port <= last]


def test_processes_that_test_together_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        given += itertools.islice(ports._free(), 100)
    assert len(set(given)) == 300


def test_a_port_that_somebody_uses_is_passed_over() -> None:
    port = next(ports._free())
    with socket.create_server(("127.0.0.1", port)):
        assert next(ports._free()) != port


def test_none_is_given_that_a_browser_refuses() -> None:
    assert 10_080 not in ports._quiet()
