"""The schema, made by a role with few rights."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import psycopg2.extensions
import pytest

import db
import jobs
import leases
import progress
import retention
import schema
from db import DatabaseAway
from errors import QueueError
from inbox import Inbox
from tests.daemons import make_settings
from tests.database import TABLE, Queries
from tests.schemas import HELPERS, LATER, OWN_TABLES, WEB_UI, WEB_UI_TABLES, empty, tables, traces, version

__all__ = ["empty"]  # a fixture


@pytest.fixture
def modest(empty: Queries, postgres: str) -> Iterator[Queries]:
    """The queue's role where the administrator is careful: it owns nothing of the web UI's."""
    role = f"modest_{empty.value('SELECT current_database()')}"
    empty(
        WEB_UI
        + LATER
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
