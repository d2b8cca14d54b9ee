"""What the doctor's tests share: a folder that anybody reaches, a machine without systemd, and a look at it all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import doctor
import doctor_host
import logs
from doctor_host import Identity
from findings import Finding
from tests.command_line import set_environment
from tests.daemons import environment


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


@pytest.fixture
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


def bad(findings: dict[str, Finding], name: str, *words: str) -> None:
    assert not findings[name].ok
    for word in words:
        assert word in findings[name].text
