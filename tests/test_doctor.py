"""The doctor: everything that can be wrong around the queue is found, and named with what helps."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2.extensions
import pytest

import db
import doctor
import doctor_host
import install
import logs
import manage
import settings as settings_module
from doctor_host import Identity
from findings import Finding
from settings import Settings
from tests.conftest import TABLE, Queries, environment, make_settings, server_cursor
from tests.test_manage import set_environment

#: A user and a group that own nothing, on every Debian.
NOBODY = 65534


@pytest.fixture
def files() -> Iterator[Path]:
    """A folder that every user can reach, as pytest's own are not."""
    top = Path(tempfile.mkdtemp(dir="/tmp"))
    top.chmod(0o755)
    folder = top / "files"
    folder.mkdir()
    folder.chmod(0o2750)
    yield folder
    shutil.rmtree(top)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without systemd, whose service is whoever runs the tests."""
    me = Identity("tester", os.geteuid(), os.getegid(), tuple(os.getgroups()))
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: {})
    monkeypatch.setattr(doctor_host, "service", lambda: me)
    monkeypatch.setattr(logs, "_secrets", logs.Secrets())  # those of another test are this one's words


@pytest.fixture
def examine(
    database: str, tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Finding]]:
    """Let the doctor look, with these settings besides the test's database; findings by name."""

    def look(**settings: object) -> dict[str, Finding]:
        set_environment(monkeypatch, environment(database, tmp_path, FILES_DIR=files, **settings))
        monkeypatch.chdir(tmp_path)
        return {finding.name: finding for finding in doctor.examine()}

    return look


Examine = Callable[..., dict[str, Finding]]


def only(findings: dict[str, Finding], name: str, *words: str) -> None:
    """This finding is the only bad one, and its text has these words."""
    assert [finding.name for finding in findings.values() if not finding.ok] == [name]
    for word in words:
        assert word in findings[name].text


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


def bad(findings: dict[str, Finding], name: str, *words: str) -> None:
    assert not findings[name].ok
    for word in words:
        assert word in findings[name].text


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
    only(examine(), "схема", "9999 новее", db.head(), "обновите код")


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


# --- the folder -------------------------------------------------------------------------------------------------------


def as_stranger(look: Callable[[], str]) -> str:
    """Call a function as a user who owns nothing; where the tests are not root's, as the tester."""
    if os.geteuid() != 0:
        return look()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def fall() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        theirs.send(look())

    process = context.Process(target=fall)
    process.start()
    process.join(20)
    return str(ours.recv())


def test_a_folder_that_the_service_cannot_write_to_is_found(files: Path) -> None:
    files.chmod(0o555)
    said = as_stranger(lambda: doctor_host.probe(files, None))
    assert "не может сюда писать" in said
    assert f"sudo install -d -o {doctor_host._name(NOBODY if os.geteuid() == 0 else os.geteuid())}" in said


def test_a_folder_that_the_service_cannot_make_is_found(files: Path) -> None:
    files.chmod(0o555)
    assert "не создаст" in as_stranger(lambda: doctor_host.probe(files / "deeper" / "still", None))


def test_a_folder_that_will_be_made_is_no_fault(examine: Examine, files: Path) -> None:
    files.rmdir()
    assert all(finding.ok for finding in examine().values())


def test_a_service_that_is_not_in_the_web_servers_group_is_found(files: Path) -> None:
    files.chmod(0o777)
    assert "не состоит в группе daemon" in as_stranger(lambda: doctor_host.probe(files, "daemon"))


def test_users_folders_of_an_older_queue_are_found(files: Path) -> None:
    files.chmod(0o777)
    for user in range(1, 9):
        (files / str(user)).mkdir(mode=0o555)
    (files / "not a user's").mkdir(mode=0o555)
    said = as_stranger(lambda: doctor_host.probe(files, None))
    assert "не может писать в папки" in said
    assert said.count(",") == doctor_host.NAMED - 1
    assert "manage.py install" in said


def test_the_probe_leaves_nothing_behind(files: Path) -> None:
    assert doctor_host.probe(files, str(os.getegid())) == ""
    assert list(files.iterdir()) == []


def test_root_looks_with_the_services_own_rights(database: str, tmp_path: Path, files: Path) -> None:
    nobody = Identity("nobody", NOBODY, NOBODY, ())
    settings = make_settings(database, tmp_path, FILES_DIR=files)
    if os.geteuid() == 0:
        files.chmod(0o700)
        assert not doctor_host.folder(settings, nobody).ok
    assert doctor_host.folder(settings, Identity("me", os.geteuid(), os.getegid(), ())).ok


def test_little_space_is_found(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "LITTLE_SPACE", 1 << 62)
    only(examine(), "папка", "свободно", "purge")


# --- the web server ---------------------------------------------------------------------------------------------------


def test_a_folder_that_the_web_servers_group_cannot_pass_is_found(examine: Examine, files: Path) -> None:
    files.chmod(0o2700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"не пройдёт через {files}", f"chmod g+x {files}")
    files.chmod(0o2750)
    files.parent.chmod(0o700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"не пройдёт через {files.parent}")


def test_users_folders_that_the_group_cannot_read_are_found(examine: Examine, files: Path) -> None:
    (files / "7").mkdir(mode=0o700)
    only(examine(FILES_GROUP=os.getegid()), "веб-сервер", f"{files}/7", "g+rX")


def test_a_group_that_owns_nothing_passes_where_others_do(files: Path, database: str, tmp_path: Path) -> None:
    me = Identity("me", os.geteuid(), os.getegid(), ())
    settings = make_settings(database, tmp_path, FILES_DIR=files, FILES_GROUP=NOBODY)
    assert "chgrp" in doctor_host.web_server(settings, me).text
    files.chmod(0o2751)
    assert doctor_host.web_server(settings, me).ok


# --- the units --------------------------------------------------------------------------------------------------------


def test_units_that_are_missing_stale_or_stopped_are_found(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    state = {"User": "tksva_q", "ActiveState": "active", "NeedDaemonReload": "no"}
    monkeypatch.setattr(install, "SYSTEM", system)
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: dict(state))
    only(examine(), "службы", "tksva_q.service", "manage.py install")
    settings = settings_module.load(tmp_path / "no.env")
    for path, text in install.unit_files(settings, "tksva_q").items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert examine()["службы"].ok
    state["NeedDaemonReload"] = "yes"
    only(examine(), "службы", "daemon-reload")
    state.update(NeedDaemonReload="no", ActiveState="failed")
    only(examine(), "службы", "systemctl start", "journalctl")
    bad(examine(FILES_GROUP=os.getegid()), "службы", "install.conf")


def test_the_embedded_default_needs_neither_units_nor_a_web_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_host, "_shown", lambda unit: {"ActiveState": "inactive"})
    settings = Settings(var_dir=tmp_path)
    assert [finding.ok for finding in doctor_host.examine(settings)] == [True, True, True]


def test_a_database_whose_roles_are_named_strangely_is_quoted(examine: Examine, postgres: str) -> None:
    with server_cursor(postgres) as cursor:
        cursor.execute('CREATE ROLE "odd name" LOGIN')
    try:
        bad(examine(PSQL_USER="odd name"), "права", 'TO "odd name"')
    finally:
        with server_cursor(postgres) as cursor:
            cursor.execute('DROP ROLE "odd name"')
