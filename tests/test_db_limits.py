"""A limit by time that no server can outlast."""

from __future__ import annotations

import contextlib
import os
import threading
import time

import psycopg2
import psycopg2.extensions
import pytest

from db import Database, DatabaseAway
from errors import LostJob
from tests.database import Queries
from tests.waiting import BUSY, join
from tests.wire import Wire, value, wire

__all__ = ["wire"]  # fixtures


def test_a_call_that_is_never_answered_is_away_after_its_limit(wire: tuple[Wire, Database]) -> None:
    carrier, own = wire
    value(own)
    carrier.swallowing.set()
    began = time.monotonic()
    with pytest.raises(DatabaseAway), own.transaction(0.3) as cursor:
        cursor.execute("SELECT 1")
    assert time.monotonic() - began < 2 * BUSY
    carrier.swallowing.clear()
    assert value(own) == 1


def test_undoing_a_transaction_is_not_waited_for_longer_either(wire: tuple[Wire, Database]) -> None:
    carrier, own = wire
    began = time.monotonic()
    with pytest.raises(LostJob), own.transaction(0.5) as cursor:
        cursor.execute("SELECT 1")
        carrier.swallowing.set()
        raise LostJob("…")
    assert time.monotonic() - began < 2 * BUSY
    carrier.swallowing.clear()
    assert value(own) == 1


def test_a_server_that_falls_silent_after_the_login_is_away_after_the_limit(wire: tuple[Wire, Database]) -> None:
    carrier, own = wire
    connect = psycopg2.connect

    def login(*args: object, **options: object) -> psycopg2.extensions.connection:
        connection = connect(*args, **options)  # type: ignore[call-overload]
        carrier.swallowing.set()
        return connection  # type: ignore[no-any-return]

    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DatabaseAway):
        patch.setattr(psycopg2, "connect", login)
        own.connect(1)
    assert time.monotonic() - began < 1 * BUSY
    assert own.connection is None


def test_a_slow_answer_within_the_limit_is_waited_for(own: Database) -> None:
    assert value(own, "SELECT 1 FROM pg_sleep(0.4)") == 1


def test_the_limit_is_each_calls_own(own: Database) -> None:
    pid = value(own, "SELECT pg_backend_pid()")
    for _ in range(4):
        with own.statement(2) as cursor:
            cursor.execute("SELECT pg_sleep(0.6)")
    assert value(own, "SELECT pg_backend_pid()") == pid


def test_calls_of_other_connections_are_left_alone(own: Database, database: str) -> None:
    other = Database(database, "other")
    pid = value(other, "SELECT pg_backend_pid()")
    waiting = threading.Thread(target=lambda: value(other, "SELECT 1 FROM pg_sleep(1)"))
    waiting.start()
    with pytest.raises(DatabaseAway), own.statement(0.2) as cursor:
        cursor.execute("SELECT pg_sleep(5)")
    join(waiting)
    assert value(other, "SELECT pg_backend_pid()") == pid
    other.close()


def test_a_child_that_was_forked_has_a_watchdog_of_its_own(own: Database, database: str) -> None:
    value(own)  # the parent's watchdog runs
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                with Database(database, "forked").statement(0.3) as cursor:
                    cursor.execute("SELECT pg_sleep(20)")
            except DatabaseAway:
                status = 0
        os._exit(status)
    began = time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    assert time.monotonic() - began < 2 * BUSY


def test_a_lock_that_somebody_else_holds_is_not_waited_for_for_ever(own: Database, sql: Queries) -> None:
    limits = [value(own, f"SHOW {name}") for name in ("lock_timeout", "statement_timeout")]
    assert limits == ["8s", "10s"]
    with own.statement() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    sql("BEGIN; LOCK TABLE post")
    with pytest.raises(DatabaseAway, match="lock timeout"), own.statement() as cursor:
        cursor.execute("DELETE FROM post")
