"""`manage.py deals …`: everybody, who is there, leave and return, who got which deal and why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db import Database
from integrations.deals import cli
from tests import ROOT
from tests.command_line import set_environment
from tests.daemons import environment
from tests.database import Queries
from tests.deals.conftest import ON, queue

Said = Callable[..., str]


@pytest.fixture
def said(
    deals: Database, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Run a command in this process; return what it prints."""
    set_environment(monkeypatch, environment(database, tmp_path, **ON))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        cli.app(list(words), standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_people_go_on_leave_come_back_and_are_added(said: Said, sql: Queries) -> None:
    said("exclude", "3")
    said("add", "10", "Анна Новенькая")
    everybody = [line.split("\t") for line in said("list").splitlines()]
    assert [line[0] for line in everybody] == ["1", "2", "3", "4", "5", "6", "10"]
    assert everybody[2] == ["3", "Менеджер 3", "в отпуске", "0"]
    assert everybody[6] == ["10", "Анна Новенькая", "работает", "0"]
    there = json.loads(said("available", "--json"))
    assert [one["user_id"] for one in there] == ["1", "2", "4", "5", "6", "10"]
    assert there[0] == {
        "user_id": "1",
        "user_name": "Менеджер 1",
        "is_excluded": False,
        "is_drawn": False,
        "deals": 0,
    }
    said("include", "3")
    assert len(said("available").splitlines()) == 7
    assert len(json.loads(said("list", "--json"))) == 7


def test_somebody_unknown_is_told_in_one_line_and_wrong_words_are_status_2(
    deals: Database, database: str, tmp_path: Path
) -> None:
    def manage(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "deals", *words],
            env=environment(database, tmp_path, **ON),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stderr.strip()

    assert manage("exclude", "99") == (1, "нет менеджера 99; все: manage.py deals list")
    assert manage("exclude")[0] == 2


def test_who_got_which_deal_when_and_why_with_the_count_of_fairness(said: Said, sql: Queries, deals: Database) -> None:
    queue(deals, 1, 2, 3)
    sql(
        "UPDATE tksva_q.deal SET state = 'done', user_id = CASE deal_id WHEN 1 THEN '2' ELSE '77' END,"
        " why = CASE deal_id WHEN 1 THEN 'draw' ELSE 'contact' END,"
        " done_at = timestamptz '2026-11-01 10:00+00' + deal_id * interval '1 hour' WHERE deal_id < 3"
    )
    lines = [line.split("\t") for line in said("assignments").splitlines()]
    assert [(line[0], line[1], line[2], line[3], line[5]) for line in lines[:2]] == [
        ("2", "1002", "77", "", "ответственный контакта"),
        ("1", "1001", "2", "Менеджер 2", "жребий"),
    ]
    assert lines[0][4].startswith("2026-11-01")
    assert lines[2] == ["По жребию:"]
    assert lines[3:] == [[str(number), f"Менеджер {number}", str(int(number == 2))] for number in range(1, 7)]
    told = json.loads(said("assignments", "--limit", "1", "--json"))
    assert [(one["deal_id"], one["user_id"], one["why"]) for one in told["assignments"]] == [(2, "77", "contact")]
    assert told["drawn"] == {str(number): int(number == 2) for number in range(1, 7)}
