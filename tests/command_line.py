"""The command line, run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import manage
from settings import Settings
from tests.daemons import environment

PREPARED = "файл подготовлен"
WORDS = ("station_name=Тайшет", "start_date=2024-01-01", "finish_date=2024-12-31")
SUBMIT = ("submit", "DownloadForStationForm", "--user", "1", "--file", "отчёт (1) [x].csv")


class Result:
    """How a command ended."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, on the test's database and in its folder."""
    set_environment(monkeypatch, environment(database, tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            manage.main(list(words))
        return Result(ended.value.code or 0, *capsys.readouterr())

    return call


def set_environment(monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)


def refused(result: Result, code: int, text: str) -> None:
    """The command failed with one line of complaint and nothing else."""
    assert (result.code, result.out) == (code, "")
    assert len(result.err.splitlines()) == 1
    assert text in result.err
