"""A `.env` of the test's own, in an environment that says nothing."""

import textwrap

import pytest

from errors import SettingsError
from settings import Settings, load

KEYS = {name.upper() for name in Settings.model_fields}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path):
    """The machine's own variables (LOG_LEVEL, WEB_PORT ...) decide nothing here."""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def env(tmp_path):
    def write(text: str) -> Settings:
        (tmp_path / ".env").write_text(textwrap.dedent(text), encoding="utf-8")
        return load()

    return write


def message(env, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        env(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)
