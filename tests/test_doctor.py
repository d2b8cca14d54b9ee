"""The doctor: everything that can be wrong around the queue is found, and named with what helps."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

import manage
import schema
from tests.database import TABLE, Queries, server_cursor
from tests.examination import Examine, bad, examine, files, machine, only

__all__ = ["examine", "files", "machine"]  # fixtures

pytestmark = pytest.mark.usefixtures("machine")


def test_where_all_is_well_every_line_is_ok(examine: Examine) -> None:
    findings = examine()
    assert [name for name, finding in findings.items() if finding.ok] == [
        "настройки",
        "база",
        "права",
        "схема",
        "часы",
        "Инспектор",
        "хранилище",
        "папка",
        "веб-сервер",
        "службы",
    ]
    assert f"{TABLE}: столбцов 9" in findings["хранилище"].text


def test_the_command_prints_a_line_each_and_exits_by_what_it_found(
    examine: Examine, sql: Queries, capsys: pytest.CaptureFixture[str]
) -> None:
    examine()  # leaves its settings in the environment
    with pytest.raises(SystemExit) as well:
        manage.main(["doctor"])
    assert not well.value.code
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["ok"] * 10
    sql("DELETE FROM dwh_tables_info")
    with pytest.raises(SystemExit) as ill:
        manage.main(["doctor", "--json"])
    assert ill.value.code == 1
    assert [line["name"] for line in json.loads(capsys.readouterr().out) if not line["ok"]] == ["Инспектор"]


def test_a_wrong_setting_is_named(examine: Examine) -> None:
    only(examine(CHUNK_SIZE="many"), "настройки", "CHUNK_SIZE", "пример")
    only(examine(INTEGRATIONS="nonsense"), "настройки", "INTEGRATIONS")


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.fixture
def role(postgres: str, sql: Queries) -> Iterator[str]:
    """A user of the server who may do nothing yet."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    sql(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
    yield name
    sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_wrong_password_is_found(examine: Examine, sql: Queries, role: str) -> None:
    hba = Path(sql.value("SHOW hba_file"))
    before = hba.read_text()
    hba.write_text(f"local all {role} scram-sha-256\n{before}")
    sql("SELECT pg_reload_conf()")
    try:
        findings = examine(PSQL_USER=role, PSQL_PWD="wrong-password")
        assert examine(PSQL_USER=role, PSQL_PWD="right")["база"].ok
    finally:
        hba.write_text(before)
        sql("SELECT pg_reload_conf()")
    bad(findings, "база", "PSQL_USER или PSQL_PWD")
    bad(findings, "схема", "сначала база")
    assert not any("wrong-password" in finding.text for finding in findings.values())


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ({"PSQL_DBNAME": "absent"}, "PSQL_DBNAME"),
        ({"PSQL_USER": "absent"}, "PSQL_USER"),
        ({"PSQL_HOST": "/nonexistent"}, "PSQL_HOST"),
        ({"PSQL_HOST": "127.0.0.1", "PSQL_PORT": "1", "PSQL_PWD": "x"}, "PSQL_PORT"),
        ({"PSQL_HOST": "nowhere.invalid", "PSQL_PWD": "x"}, "исправьте PSQL_HOST"),
    ],
)
def test_a_database_that_cannot_be_reached_is_found(examine: Examine, setting: dict[str, str], remedy: str) -> None:
    bad(examine(**setting), "база", remedy)


RIGHTS = (
    "GRANT SELECT, UPDATE ON post, dwh_tables_info TO {role}; GRANT USAGE ON SCHEMA tksva_q, audit TO {role};"
    "GRANT SELECT ON audit._sales__execution_orders TO {role};"
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tksva_q TO {role}"
)


def test_the_rights_that_are_needed_are_enough(examine: Examine, sql: Queries, role: str) -> None:
    sql(RIGHTS.format(role=role))
    assert all(finding.ok for finding in examine(PSQL_USER=role).values())


@pytest.mark.parametrize(
    ("revoked", "name", "remedy"),
    [
        ("UPDATE ON post", "права", "GRANT UPDATE ON post TO {role}"),
        ("SELECT ON post", "права", "GRANT SELECT ON post TO {role}"),
        ("UPDATE ON dwh_tables_info", "права", "GRANT UPDATE ON dwh_tables_info TO {role}"),
        ("USAGE ON SCHEMA tksva_q", "права", "GRANT USAGE ON SCHEMA tksva_q TO {role}"),
        ("INSERT ON tksva_q.page", "права", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tksva_q"),
        ("SELECT ON audit._sales__execution_orders", "хранилище", "_sales__execution_orders"),
    ],
)
def test_a_missing_right_is_found_and_granted_by_what_is_said(  # noqa: PLR0913, PLR0917
    examine: Examine, sql: Queries, role: str, revoked: str, name: str, remedy: str
) -> None:
    sql(RIGHTS.format(role=role))
    sql(f"REVOKE {revoked} FROM {role}")
    bad(examine(PSQL_USER=role), name, remedy.format(role=role))


def test_mails_need_a_look_at_the_addresses_and_no_more(examine: Examine, sql: Queries, role: str) -> None:
    sql(RIGHTS.format(role=role))
    grant = f'GRANT SELECT (id, username, email) ON "user" TO {role}'
    bad(examine(PSQL_USER=role, NOTIFY_SMTP="smtp://mail.example"), "права", grant)
    sql(grant)
    assert examine(PSQL_USER=role, NOTIFY_SMTP="smtp://mail.example")["права"].ok


def test_an_empty_database_needs_the_right_to_make_a_schema(examine: Examine, empty_database: str, role: str) -> None:
    name = psycopg2.extensions.parse_dsn(empty_database)["dbname"]
    bad(examine(PSQL_USER=role, PSQL_DBNAME=name), "права", f"GRANT CREATE ON DATABASE {name} TO {role}", "post")
    findings = examine(PSQL_DBNAME=name)
    bad(findings, "схема", "migrate up")
    bad(findings, "права", "таблица post")


def test_a_missing_column_of_the_web_uis_table_is_found(examine: Examine, sql: Queries) -> None:
    sql("ALTER TABLE post DROP COLUMN file_to_download CASCADE")
    bad(examine(), "права", "столбец file_to_download таблицы post")


def test_helpers_that_could_not_be_made_are_a_remark(examine: Examine, sql: Queries) -> None:
    sql("DROP TRIGGER tksva_q_wake ON post")
    assert "медленнее" in (finding := examine()["права"]).text
    assert finding.ok


def test_a_schema_that_is_too_old_or_too_new_is_found(examine: Examine, sql: Queries) -> None:
    sql("UPDATE tksva_q.alembic_version SET version_num = '0001'")
    only(examine(), "схема", "0001 старее", "migrate up")
    sql("UPDATE tksva_q.alembic_version SET version_num = '9999'")
    only(examine(), "схема", "9999 новее", schema.head(), "обновите код")


@pytest.mark.parametrize(("hours", "way"), [(1, "спешат на 3600"), (-1, "отстают на 3600")])
def test_a_clock_of_the_database_that_is_far_off_is_found(examine: Examine, sql: Queries, hours: int, way: str) -> None:
    name = psycopg2.extensions.parse_dsn(sql.conninfo)["dbname"]
    sql("CREATE SCHEMA wrong")
    sql(
        "CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" 'SELECT pg_catalog.clock_timestamp() + interval ''{hours} hour'''"
    )
    sql(f'ALTER DATABASE "{name}" SET search_path = wrong, pg_catalog, public')
    only(examine(), "часы", way, "timedatectl")


def test_a_missing_row_of_the_inspectors_is_found(examine: Examine, sql: Queries) -> None:
    sql("DELETE FROM dwh_tables_info")
    only(examine(), "Инспектор", TABLE, "tksva_p")


def test_a_swap_that_got_stuck_is_found_and_one_that_is_at_work_is_not(examine: Examine, sql: Queries) -> None:
    sql("UPDATE dwh_tables_info SET wants_to_refresh = true, wants_to_refresh_timestamp = localtimestamp")
    assert all(finding.ok for finding in examine().values())
    sql("UPDATE dwh_tables_info SET wants_to_refresh_timestamp = localtimestamp - interval '5 h'")
    only(examine(), "Инспектор", "уже 5 ч")


# --- the warehouse ----------------------------------------------------------------------------------------------------


def test_a_missing_column_is_found_with_the_form_that_needs_it(examine: Examine, sql: Queries) -> None:
    sql('ALTER TABLE audit._sales__execution_orders RENAME COLUMN "Ст. Отправления" TO "Станция"')
    only(examine(), "хранилище", "«Ст. Отправления»", "DownloadForStationForm", "Инспектор")


def test_a_missing_table_is_found(examine: Examine, sql: Queries) -> None:
    sql("DROP TABLE audit._sales__execution_orders")
    only(examine(), "хранилище", TABLE)


def test_a_warehouse_that_is_away_is_found_without_its_password(examine: Examine) -> None:
    findings = examine(DWH_URL="postgresql://user:dwh-secret@127.0.0.1:1/dwh")
    only(findings, "хранилище", "127.0.0.1")
    assert "dwh-secret" not in findings["хранилище"].text


def test_a_database_whose_roles_are_named_strangely_is_quoted(examine: Examine, postgres: str) -> None:
    with server_cursor(postgres) as cursor:
        cursor.execute('CREATE ROLE "odd name" LOGIN')
    try:
        bad(examine(PSQL_USER="odd name"), "права", 'TO "odd name"')
    finally:
        with server_cursor(postgres) as cursor:
            cursor.execute('DROP ROLE "odd name"')
