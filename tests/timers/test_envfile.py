"""The environment of a command comes from a file that only the service may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from errors import UserError
from integrations.timers import envfile


def written(folder: Path, text: str) -> Path:
    file = folder / "loader.env"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def test_the_lines_are_variables_with_or_without_export_and_quotes(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeff# комментарий\n\nA=1\nexport B='два слова'\nC = \"x=y\" \nD=\nE='\n")
    assert envfile.read(file) == {"A": "1", "B": "два слова", "C": "x=y", "D": "", "E": "'"}


def test_a_command_sees_none_of_the_services_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSQL_PWD", "service-password")
    monkeypatch.setenv("PATH", "/bin")
    assert envfile.environment({"A": "1"}).items() >= {"A": "1", "PATH": "/bin"}.items()
    assert "PSQL_PWD" not in envfile.environment({})


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"нет\.env: не читается \(No such file"):
        envfile.read(tmp_path / "нет.env")
    file = written(tmp_path, "")
    file.write_bytes(b"A=\xff")
    with pytest.raises(UserError, match=r"не читается \(не UTF-8\)"):
        envfile.read(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "A=1")
    os.chown(file, 12345, -1)
    with pytest.raises(UserError, match="принадлежит другому пользователю"):
        envfile.read(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_environment_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "loader.env"
    file.write_text("A=1")
    file.chmod(mode)
    with pytest.raises(UserError, match="файл доступен не только службе; исправить: chmod 600"):
        envfile.read(file)


def test_a_line_that_is_no_variable_is_named_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "loader.env"
    file.write_text("A=1\nsecret words\n")
    os.chmod(file, 0o600)
    with pytest.raises(UserError, match=r"строка 2: не КЛЮЧ=значение$"):
        envfile.read(file)
