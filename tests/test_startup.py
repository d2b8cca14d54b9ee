"""What is put right before the loop begins."""

from __future__ import annotations

from pathlib import Path

import psycopg2.extensions
import pytest

import db
import schema
import startup
from errors import QueueError
from settings import Settings
from tests.daemons import make_settings
from tests.database import Queries, server_cursor


def test_an_empty_database_gets_everything(empty_database: str, tmp_path: Path) -> None:
    startup.prepare(make_settings(empty_database, tmp_path), empty_database)
    with server_cursor(empty_database) as cursor:
        assert schema.current(cursor) == schema.head()
        cursor.execute("SELECT count(*) FROM post")


def test_what_a_crash_left_is_put_right(database: str, sql: Queries, tmp_path: Path) -> None:
    sql("UPDATE dwh_tables_info SET gives_information = true")
    post = sql.post("a.csv")
    sql("UPDATE post SET task_status = 'загружено 1 из 2'")
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    orphan, others = folder / ".tksva_q-5-1.part", folder / ".tksva_q-note"
    orphan.write_text("x")
    others.write_text("x")
    startup.prepare(make_settings(database, tmp_path), database)
    assert sql.status(post) == "в очереди"
    assert not sql.value("SELECT gives_information FROM dwh_tables_info")
    assert (orphan.exists(), others.exists()) == (False, True)


def test_a_newer_schema_is_refused_in_one_line(database: str, sql: Queries, tmp_path: Path) -> None:
    sql("UPDATE tksva_q.alembic_version SET version_num = '9999'")
    with pytest.raises(QueueError, match=r"9999.*update the code"):
        startup.prepare(make_settings(database, tmp_path), database)


def test_a_workload_newer_than_the_code_is_refused_in_one_line(database: str, sql: Queries, tmp_path: Path) -> None:
    settings = make_settings(database, tmp_path, integrations="deals")
    startup.prepare(settings, database)
    sql("UPDATE tksva_q.alembic_version_deals SET version_num = '9999'")
    with pytest.raises(QueueError, match=r"of deals is at version 9999.*update the code"):
        startup.prepare(settings, database)
    startup.prepare(make_settings(database, tmp_path), database)  # where it is off it is nobody's matter


def test_a_right_that_is_missing_is_told_in_one_line(database: str, sql: Queries, tmp_path: Path) -> None:
    role = f"reader_{sql.value('SELECT current_database()')}"
    sql(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA tksva_q TO {role}")
    sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public, tksva_q TO {role}")
    settings = make_settings(psycopg2.extensions.make_dsn(database, user=role), tmp_path)
    try:
        with pytest.raises(QueueError, match=r"^the database does not let the queue start: permission denied .* post$"):
            startup.prepare_when_possible(settings)
    finally:
        sql(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_a_database_that_comes_later_is_waited_for(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(database, tmp_path)
    asked: list[object] = []
    real = db.dsn

    def dsn(chosen: Settings) -> str:
        asked.append(chosen)
        if len(asked) == 1:
            raise db.DatabaseAway("not yet")
        return real(chosen)

    monkeypatch.setattr(db, "dsn", dsn)
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert startup.prepare_when_possible(settings) == real(settings)
    assert asked == [settings] * 2
