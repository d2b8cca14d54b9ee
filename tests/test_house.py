"""The house itself: what a newcomer adds is one file, the floors hold, and the daemon starts light."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT
from tests.daemons import Daemon, environment
from tests.database import Queries
from tests.waiting import BUSY, wait_for

Start = Callable[..., Daemon]

#: Lines that a new form may take, blank ones included.
FORM_LINES = 12

FORM = """\
from dataclasses import dataclass
from conditions import Period
from dwh import During, Equals, Extract
from processings import ORDERS, form
@dataclass(frozen=True)
class Container(Period):
    container: str
@form(reads=ORDERS, conditions=Container)
def ContainerForm(wanted: Container) -> Extract:
    days = During("SVOD.Дата отправки", wanted.start_date, wanted.finish_date)
    return Extract(ORDERS, (Equals("№ контейнера", wanted.container), days))
"""

WORKLOAD = '''\
"""Greets people in a table of its own."""

from typing import TYPE_CHECKING

import queueing
from db import Database, dsn
from processings import processing
from settings import Part, load, load_part
from tasks import Task

if TYPE_CHECKING:
    import typer


class Greeting(Part):
    """How to greet."""

    greeting: str = "Здравствуйте"


SETTINGS = Greeting


@processing("greet")
def greet(task: Task) -> None:
    """Greet the one whom the conditions name."""
    with task.database.statement() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS greetings (said text)")
        cursor.execute("INSERT INTO greetings VALUES (%s || ', ' || (%s::json ->> 'who'))",
                       (load_part(SETTINGS).greeting, task.job.params))


def commands() -> "typer.Typer":
    """Say whom to greet."""
    import typer

    app = typer.Typer()

    @app.command()
    def people(who: str) -> None:
        database = Database(dsn(load()), "greetings")
        with database.transaction() as cursor:
            queueing.submit(cursor, "greet", {"who": who})
        database.close()

    @app.command()
    def others() -> None:
        """Make Typer keep the first command's name."""

    return app
'''

#: Seconds that the daemon's imports may take on an idle machine.
IMPORT_SECONDS = 0.6

HEAVY = frozenset(
    "aiobotocore alembic botocore clickhouse_driver fastapi fsspec httpx jinja2 numpy openpyxl pandas prometheus_client"
    " rich s3fs sqlalchemy starlette typer uvicorn web".split()
)


@pytest.fixture
def integrations(tmp_path: Path) -> Path:
    """A folder of integrations beside the project's, as another directory of the same namespace."""
    folder = tmp_path / "own" / "integrations"
    folder.mkdir(parents=True)
    return folder


# --- what a newcomer adds ---------------------------------------------------------------------------------------------


def test_a_new_form_is_one_short_file(start_daemon: Start, sql: Queries, integrations: Path) -> None:
    assert len(FORM.splitlines()) <= FORM_LINES
    (integrations / "containers.py").write_text(FORM, encoding="utf-8")
    daemon = start_daemon(pythonpath=integrations.parent, integrations="containers")
    container = sql.value('SELECT "№ контейнера" FROM audit._sales__execution_orders WHERE rownumber = 7')
    conditions = {"container": container, "start_date": "2024-01-01", "finish_date": "2024-12-31"}
    post = sql.post("контейнер.csv", form="ContainerForm", conditions=conditions)
    sql.await_status(post, "файл подготовлен")
    header, *rows = daemon.file("контейнер.csv").read_text(encoding="utf-8-sig").splitlines()
    assert header.startswith("Ст. Отправления;")
    assert [container in row for row in rows] == [True]


def test_a_new_workload_is_one_module(
    start_daemon: Start, sql: Queries, database: str, integrations: Path, tmp_path: Path
) -> None:
    (integrations / "greetings.py").write_text(WORKLOAD, encoding="utf-8")
    chosen = {"pythonpath": integrations.parent, "integrations": "greetings", "greeting": "Привет"}
    start_daemon(**chosen)
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "greetings", "people", "Анна"],
        env=environment(database, tmp_path, **chosen),
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job WHERE form = 'greet'") == "done")
    assert sql("SELECT said FROM greetings") == [("Привет, Анна",)]


# --- the floors -------------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project's own code, to be spoilt."""
    copy = tmp_path / "house"
    (copy / ".ci").mkdir(parents=True)
    for path in [*ROOT.glob("*.py"), ROOT / "pyproject.toml", *ROOT.glob(".ci/*.py")]:
        shutil.copy(path, copy / path.relative_to(ROOT))
    for package in ("web", "integrations"):
        if (ROOT / package).exists():
            shutil.copytree(ROOT / package, copy / package)
    return copy


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(house / ".ci" / "lint_imports.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_floors_hold(house: Path) -> None:
    found = lint(house)
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    ("room", "line", "broken"),
    [
        ("errors.py", "import db", "An import only points down"),
        ("table_lock.py", "def late() -> None:\n    import jobs", "An import only points down"),
        ("manage.py", "import web.app", "The queue knows neither its page nor any workload"),
        ("workers.py", "import integrations", "The queue knows neither its page nor any workload"),
        ("tasks.py", "import openpyxl", "The daemon and its children start without what only some jobs need"),
        ("queue_manager.py", "import typer", "The daemon and its children start without what only some jobs need"),
    ],
)
def test_an_import_that_points_up_is_refused(house: Path, room: str, line: str, broken: str) -> None:
    with (house / room).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    found = lint(house)
    assert found.returncode == 1
    assert f"{broken} BROKEN" in " ".join(found.stdout.split())


def test_a_file_without_a_floor_is_named(house: Path) -> None:
    (house / "attic.py").touch()
    found = lint(house)
    assert found.returncode == 1
    assert found.stdout.rstrip().endswith("differ in: attic")


# --- the proofs -------------------------------------------------------------------------------------------------------

#: Folders that are proofs themselves, or steps that other proofs go through whole: the schema's, and CI's.
NO_ROOMS = frozenset({"tests", "benchmarks", "faults", "migrations", "docs", ".ci"})


def untested(root: Path) -> set[str]:
    """The modules that have no test file of their name, or one without a test.

    `jobs.py` is tested by `tests/test_jobs.py`, `web/api.py` by `tests/web/test_api.py`, and
    `integrations/deals/draw.py` by `tests/deals/test_draw.py`. A package's own `__init__.py` goes by the package's
    name, unless it is only a docstring. Modules that stand together may be tested together, as in `tests/store/`.
    """
    modules = [*root.glob("*.py"), *(path for path in root.glob("*/*.py") if path.parent.name not in NO_ROOMS)]
    modules += root.glob("integrations/*/*.py")
    packages = {"web", *(path.stem for path in root.glob("integrations/*"))}
    missing = set()
    for module in modules:
        folder = module.parent.relative_to(root)
        if folder.parts[:1] == ("integrations",):
            folder = Path(folder.name if len(folder.parts) > 1 else module.stem)
        name = module.stem.strip("_")
        if module.name == "__init__.py":
            if len(ast.parse(module.read_text(encoding="utf-8")).body) <= 1:
                continue
            name = folder.name
        proofs = [root / "tests" / folder / f"test_{name}.py"]
        if folder == Path():
            proofs += [path for path in root.glob(f"tests/*/test_{name}.py") if path.parent.name not in packages]
        if not any(proof.exists() and "def test_" in proof.read_text(encoding="utf-8") for proof in proofs):
            missing.add(str(module.relative_to(root)))
    return missing


def test_every_module_has_a_test_file_of_its_name() -> None:
    assert untested(ROOT) == set()


def test_a_module_without_a_test_file_is_named(tmp_path: Path) -> None:
    for path, text in {
        "attic.py": "",
        "cellar.py": "",
        "web/__init__.py": '"""The web."""',
        "web/door.py": "",
        "web/__main__.py": "",
        "integrations/greetings.py": "",
        "integrations/farewells/__init__.py": '"""Says goodbye."""\nimport door',
        "integrations/farewells/words.py": "",
        "benchmarks/peer.py": "",
        "tests/test_cellar.py": "def test_it_is_dry() -> None: ...",
        "tests/test_attic.py": "nothing here",
        "garden.py": "",
        "tests/outside/test_garden.py": "def test_it_is_green() -> None: ...",
        "tests/farewells/test_attic.py": "def test_it_is_another_rooms() -> None: ...",
        "tests/test_door.py": "def test_it_is_another_folders() -> None: ...",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert untested(tmp_path) == {
        "attic.py",
        "web/door.py",
        "web/__main__.py",
        "integrations/greetings.py",
        "integrations/farewells/__init__.py",
        "integrations/farewells/words.py",
    }
    for path in ("test_attic", "web/test_door", "web/test_main", "greetings/test_greetings", "farewells/test_words"):
        (tmp_path / "tests" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "tests" / f"{path}.py").write_text("def test_it() -> None: ...", encoding="utf-8")
    assert untested(tmp_path) == {"integrations/farewells/__init__.py"}


# --- the daemon's start -----------------------------------------------------------------------------------------------


def test_the_daemon_starts_without_what_only_some_jobs_need() -> None:
    code = (
        "import time; began = time.process_time(); import queue_manager, fork_server, child\n"
        "seconds = time.process_time() - began\n"
        "import json, sys; print(json.dumps([seconds, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    starts = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
        )
        for _ in range(3)
    ]
    modules = set(starts[0][1])
    assert "workers" in modules
    assert not HEAVY & modules
    assert min(seconds for seconds, _ in starts) < IMPORT_SECONDS * BUSY
