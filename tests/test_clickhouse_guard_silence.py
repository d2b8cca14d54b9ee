"""A server that takes a guard's connection and says nothing: whoever abandons its queries hears of the real fault."""

from __future__ import annotations

import socket

import pytest

import clickhouse_guard
from clickhouse_guard import Guard


def test_a_server_that_says_nothing_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse_guard, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        watching = Guard({"host": "127.0.0.1", "port": silent.getsockname()[1]}, "guarded-")
        watching.end(kill=True)
        connection, _ = silent.accept()
        with connection:
            assert watching._process.poll() is None
    assert watching._process.wait(60) == 1
