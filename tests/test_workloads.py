"""What INTEGRATIONS switches on: modules, their settings, their tables, what they bring along."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

import db
import processings
import schema
import workloads
from errors import SettingsError
from logs import redact
from processings import REGISTER, find

MODULE = """
from pydantic import Field, SecretStr
from processings import processing
from settings import Part

TITLE = "Почта"
SCHEDULES = ("hourly",)

class MailSettings(Part):
    mail_limit: int = Field(default=2, examples=["2"])
    mail_password: SecretStr = Field(default=SecretStr(""), examples=["…"])

SETTINGS = MailSettings

def metrics(cursor):
    return [cursor]

@processing("mail")
def mail(task):
    pass
"""


@pytest.fixture(autouse=True)
def register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processings, "REGISTER", dict(REGISTER))


@pytest.fixture
def integrations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of integrations of the test's own, which is also the working directory."""
    package = types.ModuleType("integrations")
    package.__path__ = [str(tmp_path)]
    for name in [name for name in sys.modules if name.split(".")[0] == "integrations"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "integrations", package)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("integrations.")]:
        del sys.modules[name]


def test_a_workload_registers_its_own_processings_once(integrations: Path) -> None:
    (integrations / "mail.py").write_text(MODULE, encoding="utf-8")
    for _ in range(2):
        workloads.load(["mail"])
    assert find("mail").name == "mail"


@pytest.mark.usefixtures("integrations")
def test_a_workload_that_is_not_there_stops_the_start_with_its_name() -> None:
    with pytest.raises(SettingsError, match=r"INTEGRATIONS: nowhere: .*пример: INTEGRATIONS="):
        workloads.load(["nowhere"])


def test_a_part_that_a_workload_lacks_is_named(integrations: Path) -> None:
    (integrations / "mail.py").write_text("import a_part_that_is_not_installed", encoding="utf-8")
    with pytest.raises(SettingsError, match="a_part_that_is_not_installed"):
        workloads.load(["mail"])


def test_what_a_workload_brings_along_is_found_by_its_name(integrations: Path) -> None:
    (integrations / "mail.py").write_text(MODULE, encoding="utf-8")
    [mail] = workloads.load(["mail"])
    assert (mail.name, mail.title) == ("mail", "Почта")
    assert mail.part("SCHEDULES") == ("hourly",)
    assert mail.part("metrics", "cursor") == ["cursor"]
    assert not mail.offers("routes")
    assert mail.part("routes") == ()


def test_a_setting_of_a_workload_that_makes_no_sense_stops_the_start(integrations: Path) -> None:
    (integrations / "mail.py").write_text(MODULE, encoding="utf-8")
    (integrations / ".env").write_text("MAIL_LIMIT=many", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^MAIL_LIMIT: .*; пример: MAIL_LIMIT=2$"):
        workloads.load(["mail"])


def test_a_secret_of_a_workload_is_never_shown(integrations: Path) -> None:
    (integrations / "mail.py").write_text(MODULE, encoding="utf-8")
    (integrations / ".env").write_text("MAIL_PASSWORD=a-very-secret-word", encoding="utf-8")
    workloads.load(["mail"])
    assert "secret" not in redact("login with a-very-secret-word failed")


# --- tables of its own --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Migrations of the project, and of a workload that has one table."""
    here = tmp_path / "code"
    (here / "migrations").mkdir(parents=True)
    for name in ("env.py", "versions"):
        (here / "migrations" / name).symlink_to(db.HERE / "migrations" / name)
    (here / "migrations" / "mail").mkdir()
    (here / "migrations" / "mail" / "0001_letter.py").write_text(
        "from alembic import op\nrevision, down_revision = '0001', None\n"
        "def upgrade(): op.execute('CREATE TABLE letter (id int)')\n"
        "def downgrade(): op.execute('DROP TABLE letter')\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(schema, "HERE", here)
    return "mail"


def tables(conninfo: str) -> tuple[object, ...]:
    connection = psycopg2.connect(conninfo)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('letter')::text, to_regclass('tksva_q.job')::text")
        found = cursor.fetchone() or ()
        outdated = schema.outdated(cursor, ["mail", "stationery"])
    connection.close()
    return (*found, outdated)


def test_the_tables_of_a_workload_come_when_it_is_switched_on_and_go_with_the_schema(
    empty_database: str, tree: str
) -> None:
    for _ in range(2):
        schema.migrate(empty_database)
        assert tables(empty_database) == (None, "tksva_q.job", [tree])
        for _ in range(2):
            schema.migrate(empty_database, workloads=[tree, "stationery"])
            assert tables(empty_database) == ("letter", "tksva_q.job", [])
        schema.migrate(empty_database, "base")
        assert tables(empty_database) == (None, None, [tree])
