"""The schema comes and goes, twice in a row, and never takes anything of the web UI's with it."""

from __future__ import annotations

import threading
import uuid

import psycopg2
import psycopg2.extensions
import pytest

import queueing
import schema
from db import DatabaseAway
from errors import QueueError
from tests.database import Queries, server_cursor
from tests.schemas import HELPERS, LATER, OWN_TABLES, WEB_UI, WEB_UI_TABLES, columns, empty, tables, traces, version
from tests.waiting import join, wait_for

__all__ = ["empty"]  # a fixture


def test_from_nothing_and_to_nothing_twice_in_a_row(empty: Queries) -> None:
    for _ in range(2):
        schema.migrate(empty.conninfo)
        assert tables(empty) == WEB_UI_TABLES | OWN_TABLES
        assert traces(empty) >= HELPERS | {"tksva_q_wake", "tksva_q"}
        assert version(empty) == schema.head()
        schema.migrate(empty.conninfo, "base")
        assert tables(empty) == WEB_UI_TABLES
        assert traces(empty) == set()
        assert version(empty) is None


def test_up_twice_and_down_twice_change_nothing_more(empty: Queries) -> None:
    schema.migrate(empty.conninfo, "base")
    assert traces(empty) == set()
    for target, left in (("head", WEB_UI_TABLES | OWN_TABLES), ("base", WEB_UI_TABLES)):
        for _ in range(2):
            schema.migrate(empty.conninfo, target)
            assert tables(empty) == left


def test_tables_of_the_web_ui_stay_as_they_are(empty: Queries) -> None:
    empty(WEB_UI + LATER)
    before = columns(empty)
    schema.migrate(empty.conninfo)
    post = empty.post("a.csv")
    assert columns(empty) == before
    schema.migrate(empty.conninfo, "base")
    assert columns(empty) == before
    assert empty("SELECT id, added_later, task_status FROM post") == [(post, "kept", "в очереди")]


def test_only_what_is_absent_of_them_is_made(empty: Queries) -> None:
    empty(WEB_UI + LATER + "DROP TABLE dwh_tables_info")
    schema.migrate(empty.conninfo)
    assert tables(empty) == WEB_UI_TABLES | OWN_TABLES
    assert empty.value('SELECT count(*) FROM "user"') == 1


def test_the_tables_made_are_those_of_the_web_ui(empty: Queries, postgres: str) -> None:
    schema.migrate(empty.conninfo)
    made = columns(empty)
    empty('DROP TABLE post, "user", dwh_tables_info CASCADE')
    empty(WEB_UI)
    assert made == columns(empty)


def test_the_version_is_the_queues_own_and_the_web_uis_is_left_alone(empty: Queries) -> None:
    empty(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('web')"
    )
    assert version(empty) is None
    schema.migrate(empty.conninfo)
    assert version(empty) == schema.head()
    schema.migrate(empty.conninfo, "base")
    assert empty("SELECT version_num FROM public.alembic_version") == [("web",)]


def test_a_new_row_wakes_the_loop_and_a_progress_does_not(sql: Queries, database: str) -> None:
    with server_cursor(database) as cursor:
        connection = cursor.connection
        cursor.execute(f"LISTEN {queueing.CHANNEL}")

        def heard(change: str) -> int:
            sql(change)
            cursor.execute("SELECT 1")
            count = len(connection.notifies)
            connection.notifies.clear()
            return count

        insert = "INSERT INTO post (task_status) VALUES ('{}')"
        assert heard(insert.format("в очереди")) == 1
        assert heard(insert.format("файл подготовлен")) == 0
        assert heard("UPDATE post SET task_status = 'загружено 1 из 2'") == 0
        assert heard("UPDATE post SET task_status = 'скрыта пользователем'") == 1
        assert heard("UPDATE post SET task_status = 'в очереди', timestamp = localtimestamp") == 1
        assert heard("UPDATE post SET timestamp = localtimestamp") == 0


def test_impossible_states_of_a_job_are_refused_by_the_database(sql: Queries) -> None:
    for impossible in (
        "(state) VALUES ('gone')",
        "(state) VALUES ('running')",
        f"(state, worker) VALUES ('waiting', '{uuid.uuid4()}')",
        "(state) VALUES ('done')",
        "(state, finished_at) VALUES ('waiting', now())",
    ):
        with pytest.raises(psycopg2.errors.CheckViolation):
            sql(f"INSERT INTO tksva_q.job {impossible}")
    sql("INSERT INTO tksva_q.job (post_id) VALUES (1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        sql("INSERT INTO tksva_q.job (post_id) VALUES (1)")


def test_two_that_start_together_migrate_one_after_the_other(empty: Queries) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            schema.migrate(empty.conninfo)
        except BaseException as error:
            errors.append(error)

    empty("SELECT pg_advisory_lock(%s)", schema.MIGRATION_LOCK)
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(empty.blocked()) == 2)
    assert tables(empty) == set()
    empty("SELECT pg_advisory_unlock(%s)", schema.MIGRATION_LOCK)
    join(*threads)
    assert errors == []
    assert version(empty) == schema.head()


def test_a_migration_that_fails_leaves_nothing_behind(empty: Queries) -> None:
    empty("CREATE SCHEMA tksva_q CREATE TABLE page (mine integer)")
    with pytest.raises(QueueError, match='cannot be brought to head: relation "page" already exists'):
        schema.migrate(empty.conninfo)
    assert tables(empty) == {"tksva_q.page"}


def test_a_database_that_cannot_be_reached_is_away(empty: Queries, tmp_path: object) -> None:
    with pytest.raises(DatabaseAway):
        schema.migrate(f"host={tmp_path} user=postgres")


def test_a_migration_whose_connection_is_terminated_is_away(empty: Queries) -> None:
    empty("SELECT pg_advisory_lock(%s)", schema.MIGRATION_LOCK)

    def terminate() -> None:
        empty("SELECT pg_terminate_backend(%s)", wait_for(empty.blocked)[0])

    killer = threading.Thread(target=terminate)
    killer.start()
    with pytest.raises(DatabaseAway):
        schema.migrate(empty.conninfo)
    join(killer)


def test_a_migration_that_is_terminated_while_it_works_is_away(empty: Queries) -> None:
    empty("CREATE SCHEMA tksva_q; BEGIN; CREATE TABLE tksva_q.worker (mine integer)")
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            schema.migrate(empty.conninfo)
        except DatabaseAway as error:
            errors.append(error)

    migrating = threading.Thread(target=migrate)
    migrating.start()
    empty("SELECT pg_terminate_backend(%s)", wait_for(empty.blocked)[0])
    join(migrating)
    empty("ROLLBACK")
    assert len(errors) == 1
    assert tables(empty) == set()
    schema.migrate(empty.conninfo)
    assert version(empty) == schema.head()
