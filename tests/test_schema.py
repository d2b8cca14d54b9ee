"""The schema comes and goes, twice in a row, and never takes anything of the web UI's with it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
import pytest

import db
import jobs
import leases
import progress
import queueing
import retention
import schema
from db import DatabaseAway
from errors import QueueError
from inbox import Inbox
from tests.conftest import TABLE, Queries, make_settings, server_cursor
from tests.waiting import join, wait_for

#: As the web UI's own migrations make it, with a column of a later version of theirs.
WEB_UI = """
CREATE TABLE "user" (id serial PRIMARY KEY, username varchar(64), email varchar(120), password_hash varchar(256),
    about_me varchar(140), last_seen timestamp);
CREATE TABLE post (id serial PRIMARY KEY, user_id integer REFERENCES "user", form_name varchar(140), conditions json,
    task_status varchar(140), file_to_download varchar(140), task_status_timestamp timestamp, timestamp timestamp,
    added_later text DEFAULT 'kept');
CREATE TABLE dwh_tables_info (dwh_table_name varchar(140) PRIMARY KEY, table_info json, timestamp timestamp,
    wants_to_refresh boolean, wants_to_refresh_timestamp timestamp, gives_information boolean,
    gives_information_timestamp timestamp);
INSERT INTO "user" (username) VALUES ('somebody');
"""

WEB_UI_TABLES = {"public.user", "public.post", "public.dwh_tables_info"}
OWN_TABLES = {
    f"tksva_q.{name}"
    for name in (
        *("alembic_version", "worker", "job", "attempt", "page", "download", "counter", "hour", "announcement"),
        *("schedule", "slot"),
        *("service", "service_instance"),
        "dispatch",
    )
}
HELPERS = {"tksva_q_waiting", "tksva_q_prepared", "tksva_q_clicked", "tksva_q_living"}


@pytest.fixture
def empty(empty_database: str) -> Iterator[Queries]:
    queries = Queries(empty_database)
    yield queries
    queries.close()


def tables(queries: Queries) -> set[str]:
    return {
        f"{schema}.{name}"
        for schema, name in queries(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
    }


def traces(queries: Queries) -> set[str]:
    """Everything in the database that carries the queue's name."""
    return {
        row[0]
        for row in queries(
            "SELECT relname FROM pg_class WHERE relname LIKE 'tksva_q%' UNION SELECT tgname FROM pg_trigger"
            " WHERE tgname LIKE 'tksva_q%' UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tksva_q%'"
        )
    }


def columns(queries: Queries) -> list[tuple[object, ...]]:
    return queries(
        "SELECT table_name, column_name, data_type, character_maximum_length, column_default, is_nullable"
        " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )


def version(queries: Queries) -> str | None:
    with queries.connection.cursor() as cursor:
        return schema.current(cursor)


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
    empty(WEB_UI)
    before = columns(empty)
    schema.migrate(empty.conninfo)
    post = empty.post("a.csv")
    assert columns(empty) == before
    schema.migrate(empty.conninfo, "base")
    assert columns(empty) == before
    assert empty("SELECT id, added_later, task_status FROM post") == [(post, "kept", "в очереди")]


def test_only_what_is_absent_of_them_is_made(empty: Queries) -> None:
    empty(WEB_UI + "DROP TABLE dwh_tables_info")
    schema.migrate(empty.conninfo)
    assert tables(empty) == WEB_UI_TABLES | OWN_TABLES
    assert empty.value('SELECT count(*) FROM "user"') == 1


def test_the_tables_made_are_those_of_the_web_ui(empty: Queries, postgres: str) -> None:
    schema.migrate(empty.conninfo)
    made = columns(empty)
    empty('DROP TABLE post, "user", dwh_tables_info CASCADE')
    empty(WEB_UI + "ALTER TABLE post DROP added_later")
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


# --- a role with few rights -------------------------------------------------------------------------------------------


@pytest.fixture
def modest(empty: Queries, postgres: str) -> Iterator[Queries]:
    """The queue's role where the administrator is careful: it owns nothing of the web UI's."""
    role = f"modest_{empty.value('SELECT current_database()')}"
    empty(
        WEB_UI
        + f"CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {empty.value('SELECT current_database()')} TO {role};"
        f'GRANT SELECT, INSERT, UPDATE ON post, "user", dwh_tables_info TO {role};'
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};"
        f"INSERT INTO dwh_tables_info VALUES ('{TABLE}', '{{}}', localtimestamp, false, localtimestamp, false)"
    )
    queries = Queries(psycopg2.extensions.make_dsn(empty.conninfo, user=role))
    yield queries
    queries.close()
    empty(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_without_the_right_to_helpers_the_queue_installs_and_works(
    modest: Queries, empty: Queries, tmp_path: object
) -> None:
    schema.migrate(modest.conninfo)
    assert traces(modest) & (HELPERS | {"tksva_q_wake"}) == set()
    assert tables(modest) == WEB_UI_TABLES | OWN_TABLES

    post = empty.post("a.csv")
    own = db.Database(modest.conninfo, "test")
    me = leases.Worker.this_process(15)
    with own.statement() as cursor:
        me.renew(cursor)
    assert Inbox(lambda request: TABLE).take_in(own) == (1, [])
    with own.statement() as cursor:
        job = jobs.claim(cursor, me.id, 0)
    assert job is not None
    with own.statement() as cursor:
        progress.record(cursor, job.fence, progress.Progress(1, 1, 1, {}))
    assert empty.value("SELECT gives_information FROM dwh_tables_info")
    with own.transaction() as cursor:
        jobs.settle(cursor, job.fence, job.dwh_table, jobs.Settlement("done", "done"))
    assert empty.status(post) == "файл подготовлен"
    empty("UPDATE post SET task_status = 'файл загружен'")
    settings = make_settings(modest.conninfo, tmp_path, download_grace_seconds=0)  # type: ignore[arg-type]
    assert [purged.post_id for purged in retention.purge(own, settings)] == [post]
    with own.statement() as cursor:
        assert retention.unwanted(cursor) == []
    assert leases.rescue(own, me, 5) == []
    assert leases.release_stale_locks(own) == []
    assert empty.status(post) == "скрыта менеджером очереди"
    own.close()

    schema.migrate(modest.conninfo, "base")
    assert tables(modest) == WEB_UI_TABLES


def test_without_the_right_to_make_a_schema_the_reason_is_one_line(modest: Queries, empty: Queries) -> None:
    name = empty.value("SELECT current_database()")
    empty(f"REVOKE CREATE ON DATABASE {name} FROM modest_{name}")
    with pytest.raises(QueueError, match="permission denied for database") as caught:
        schema.migrate(modest.conninfo)
    assert not isinstance(caught.value, DatabaseAway)
    assert "\n" not in str(caught.value)


def test_helpers_that_another_role_has_made_are_left_where_they_cannot_be_taken_away(
    modest: Queries, empty: Queries
) -> None:
    schema.migrate(modest.conninfo)
    empty("CREATE INDEX tksva_q_waiting ON post (id) WHERE task_status = 'в очереди'")
    schema.migrate(modest.conninfo, "base")
    assert traces(empty) == {"tksva_q_waiting"}
    schema.migrate(modest.conninfo)
    assert version(modest) == schema.head()
