"""One connection that heals, and what it makes of errors."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

import db
from db import Database, DatabaseAway
from errors import LostJob
from settings import Settings
from tests.database import Queries, server_cursor
from tests.waiting import BUSY, PATIENCE, join, wait_for
from tests.wire import say_nothing, server, value

# --- where the server is ----------------------------------------------------------------------------------------------


def test_the_connection_string_is_put_together_from_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        psql_host="db.example",
        psql_port=5433,
        psql_dbname="tk sva",
        psql_user="queue",
        psql_pwd="p' \\w",  # type: ignore[arg-type]
        var_dir=tmp_path,
    )
    assert psycopg2.extensions.parse_dsn(db.dsn(settings)) == {
        "host": "db.example",
        "port": "5433",
        "dbname": "tk sva",
        "user": "queue",
        "password": "p' \\w",
    }


def test_what_the_settings_do_not_say_is_left_to_libpq(tmp_path: Path) -> None:
    settings = Settings(psql_host="/run/postgresql", psql_dbname="tksva", psql_user="queue", var_dir=tmp_path)
    assert set(psycopg2.extensions.parse_dsn(db.dsn(settings))) == {"host", "dbname", "user"}


def test_without_a_host_it_is_the_embedded_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("embedded.embedded_dsn", lambda folder: f"the server in {folder}")
    for key in Settings.model_fields:
        monkeypatch.delenv(key.upper(), raising=False)
    assert db.dsn(Settings(var_dir=tmp_path)) == f"the server in {tmp_path}"


def test_the_administrator_sees_whose_connection_it_is(own: Database, sql: Queries) -> None:
    value(own)
    assert sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'") == 1


# --- away, and back ---------------------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_away(tmp_path: Path) -> None:
    own = Database(f"host={tmp_path} user=postgres", "test")
    for _ in range(2):
        with pytest.raises(DatabaseAway) as caught, own.statement():
            raise AssertionError("no cursor without a connection")
        assert "\n" not in str(caught.value)
    assert own.connection is None


def test_a_server_that_accepts_and_says_nothing_is_away_after_the_limit() -> None:
    with server(say_nothing) as conninfo:
        own = Database(conninfo, "test")
        began = time.monotonic()
        with pytest.raises(DatabaseAway):
            own.connect(1)
        assert time.monotonic() - began < 1 * BUSY


def test_a_server_that_ends_the_conversation_at_once_is_away() -> None:
    def hang_up(client: socket.socket) -> None:
        client.shutdown(socket.SHUT_RDWR)

    with server(hang_up) as conninfo, pytest.raises(DatabaseAway):
        Database(conninfo, "test").connect()


def test_a_refusal_in_the_servers_own_encoding_is_still_understood_as_away() -> None:
    """Before the client's encoding is agreed upon, a Russian server may answer in that of its cluster."""

    def refuse(client: socket.socket) -> None:
        fields = b"".join(
            kind + text.encode("cp1251") + b"\0"
            for kind, text in ((b"S", "ВАЖНО"), (b"C", "57P03"), (b"M", "система запускается"))
        )
        client.recv(65536)
        client.sendall(b"E" + struct.pack(">I", len(fields) + 5) + fields + b"\0")
        with contextlib.suppress(OSError):  # it may have gone by itself
            client.shutdown(socket.SHUT_RDWR)

    with server(refuse) as conninfo, pytest.raises(DatabaseAway):
        Database(conninfo, "test").connect()


def test_a_connection_that_was_terminated_is_away_once_and_then_back(own: Database, sql: Queries) -> None:
    value(own)
    sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'test'")
    with pytest.raises(DatabaseAway):
        value(own)
    assert value(own) == 1


def test_a_transaction_whose_connection_is_terminated_is_not_half_done(own: Database, sql: Queries) -> None:
    with pytest.raises(DatabaseAway), own.transaction() as cursor:
        cursor.execute("DELETE FROM dwh_tables_info")
        sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'test'")
        cursor.execute("SELECT 1")
    assert sql.value("SELECT count(*) FROM dwh_tables_info") == 1
    assert value(own) == 1


def test_a_connection_stays_open_between_calls(own: Database) -> None:
    first = value(own, "SELECT pg_backend_pid()")
    with own.transaction() as cursor:
        cursor.execute("SELECT 1")
    assert value(own, "SELECT pg_backend_pid()") == first


def test_a_closed_connection_is_made_again_by_its_next_use(own: Database) -> None:
    first = value(own, "SELECT pg_backend_pid()")
    own.close()
    own.close()
    assert own.connection is None
    assert value(own, "SELECT pg_backend_pid()") != first


def test_a_server_that_may_only_be_read_is_away(own: Database, sql: Queries) -> None:
    """After a failover the old address may lead to what is a standby now."""
    sql(f"ALTER DATABASE {sql.value('SELECT current_database()')} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseAway), own.statement() as cursor:
        cursor.execute("DELETE FROM post")
    assert own.connection is None


def test_a_server_that_refuses_logins_is_away(own: Database, postgres: str) -> None:
    value(own)
    name = psycopg2.extensions.parse_dsn(own.conninfo)["dbname"]
    own.close()
    with server_cursor(postgres) as cursor:
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    with pytest.raises(DatabaseAway, match="not currently accepting connections"):
        own.connect()


# --- transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_is_committed_when_its_block_ends(own: Database, sql: Queries) -> None:
    with own.transaction() as cursor:
        cursor.execute("DELETE FROM dwh_tables_info")
        assert sql.value("SELECT count(*) FROM dwh_tables_info") == 1
    assert sql.value("SELECT count(*) FROM dwh_tables_info") == 0


def test_a_transaction_whose_block_raises_is_undone_and_the_connection_stays(own: Database, sql: Queries) -> None:
    pid = value(own, "SELECT pg_backend_pid()")
    with pytest.raises(LostJob), own.transaction() as cursor:
        cursor.execute("DELETE FROM dwh_tables_info")
        raise LostJob("…")
    assert sql.value("SELECT count(*) FROM dwh_tables_info") == 1
    assert value(own, "SELECT pg_backend_pid()") == pid


def test_a_wrong_statement_is_its_own_error_and_the_connection_stays(own: Database) -> None:
    pid = value(own, "SELECT pg_backend_pid()")
    with pytest.raises(psycopg2.errors.UndefinedTable), own.transaction() as cursor:
        cursor.execute("SELECT FROM nowhere")
    with pytest.raises(psycopg2.errors.UndefinedTable), own.statement() as cursor:
        cursor.execute("SELECT FROM nowhere")
    assert value(own, "SELECT pg_backend_pid()") == pid


def test_two_transactions_that_wait_for_each_other_are_away_and_not_stuck(database: str, sql: Queries) -> None:
    sql("CREATE TABLE pair AS SELECT g FROM generate_series(1, 2) g")
    both, outcomes = threading.Barrier(2), []

    def swap(first: int) -> None:
        own = Database(database, "swapper")
        try:
            with own.transaction() as cursor:
                cursor.execute("SELECT FROM pair WHERE g = %s FOR UPDATE", (first,))
                both.wait(PATIENCE)
                cursor.execute("SELECT FROM pair WHERE g = %s FOR UPDATE", (3 - first,))
            outcomes.append("done")
        except DatabaseAway as error:
            outcomes.append(str(error).split()[0])
        own.close()

    threads = [threading.Thread(target=swap, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert sorted(outcomes) == ["deadlock", "done"]


def test_a_transaction_left_open_by_a_stopped_process_ends_on_its_own(own: Database, sql: Queries) -> None:
    with own.statement() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchall() == [("10s",)]
        cursor.execute("SET idle_in_transaction_session_timeout = '100ms'")
    with pytest.raises(DatabaseAway), own.transaction() as cursor:
        cursor.execute("DELETE FROM dwh_tables_info")
        wait_for(lambda: not sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'"))
    assert sql.value("SELECT count(*) FROM dwh_tables_info") == 1


# --- errors as one line -----------------------------------------------------------------------------------------------


def test_what_an_error_says_is_one_line_that_the_database_takes(own: Database) -> None:
    for said, line in (
        ("two\n  lines\r\n", "two lines"),
        ("", "ValueError"),
        (" \n", "ValueError"),
        ("nothing\0 of it", "nothing\\x00 of it"),
        ("half a pair \ud83d", "half a pair \\ud83d"),
    ):
        assert db.one_line(ValueError(said)) == line
        with own.statement() as cursor:
            cursor.execute("SELECT %s", (line,))
            assert cursor.fetchall() == [(line,)]


def test_an_error_that_was_not_foreseen_is_told_with_its_class() -> None:
    assert db.unforeseen(KeyError("a")) == "KeyError: 'a'"
    assert db.unforeseen(ValueError("two\nlines")) == "ValueError: two lines"
    assert db.unforeseen(ZeroDivisionError()) == "ZeroDivisionError"
