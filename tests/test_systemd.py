"""What systemd hears, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import systemd
from systemd import Watchdog, notify


class ServiceManager:
    """The end of the socket that is systemd's."""

    def __init__(self, address: str) -> None:
        self.wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.wire.bind(address)
        self.wire.setblocking(False)

    def heard(self) -> list[str]:
        """Return what came since it was last asked."""
        messages = []
        while True:
            try:
                messages.append(self.wire.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ServiceManager]:
    address = str(tmp_path / "notify")
    listening = ServiceManager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    yield listening
    listening.wire.close()


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(systemd, "time", stopped)
    return stopped


@pytest.mark.parametrize("state", ["READY=1", "WATCHDOG=1", "STOPPING=1", "STATUS=загружено 5 из 10"])
def test_what_is_said_arrives_as_one_message(manager: ServiceManager, state: str) -> None:
    assert notify(state)
    assert manager.heard() == [state]


def test_an_abstract_socket_is_one_whose_address_begins_with_an_at(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"tksva_q test {os.getpid()}"
    listening = ServiceManager("\0" + name)
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
    assert notify("READY=1")
    assert listening.heard() == ["READY=1"]
    listening.wire.close()


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_a_service_manager_that_has_gone_is_no_error(manager: ServiceManager) -> None:
    manager.wire.close()
    assert not notify("READY=1")


def test_an_address_that_leads_nowhere_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in (str(tmp_path / "nowhere"), "x" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not notify("READY=1")


def test_a_service_manager_that_does_not_listen_holds_nobody_up(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of a datagram socket is short; a loop that waits for room in it is a loop that stands."""
    monkeypatch.setattr(systemd, "SEND_SECONDS", 0.05)
    said = 0
    while notify("WATCHDOG=1"):
        said += 1
        assert said < 100_000
    assert manager.heard() == ["WATCHDOG=1"] * said
    assert notify("WATCHDOG=1")


def test_the_watchdog_is_fed_three_times_in_its_period(
    manager: ServiceManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    watchdog = Watchdog()
    assert watchdog.due <= clock.now + 10
    for _ in range(300):
        watchdog.feed()
        clock.now += 0.1
    assert manager.heard() == ["WATCHDOG=1"] * 3


def test_a_watchdog_that_is_fed_late_is_fed_at_once(
    manager: ServiceManager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    watchdog = Watchdog()
    watchdog.feed()
    manager.heard()
    clock.now += 25
    watchdog.feed()
    watchdog.feed()
    assert manager.heard() == ["WATCHDOG=1"]
    assert watchdog.due == clock.now + 10


@pytest.mark.parametrize("period", [None, "", "0"])
def test_where_nobody_waits_for_signs_of_life_none_are_due(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch, period: str | None
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if period is not None:
        monkeypatch.setenv("WATCHDOG_USEC", period)
    watchdog = Watchdog()
    watchdog.feed()
    assert watchdog.due == float("inf")
    assert manager.heard() == []
