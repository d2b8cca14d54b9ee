"""The settings of the deals: their defaults, and one line that says what is wrong without saying the secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import SettingsError
from faults.bitrix import SECRET
from integrations.deals.options import DealSettings
from settings import load_part


def load(tmp_path: Path, *lines: str) -> DealSettings:
    file = tmp_path / ".env"
    file.write_text("\n".join(lines), encoding="utf-8")
    return load_part(DealSettings, file)


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert (found.webhook_carex, found.tech_account, found.bitrix_rate) == (None, "1111", 2.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("BITRIX_RATE=0", "BITRIX_RATE"),
        ("BITRIX_RATE=fast", "BITRIX_RATE"),
        ("BITRIX_BATCH=0", "BITRIX_BATCH"),
        ("BITRIX_BATCH=51", "BITRIX_BATCH"),
        ("BITRIX_ATTEMPTS=0", "BITRIX_ATTEMPTS"),
        ("BITRIX_TIMEOUT=0", "BITRIX_TIMEOUT"),
        ("BITRIX_PAUSE=-1", "BITRIX_PAUSE"),
        (f"WEBHOOK_CAREX=ftp://example.org/rest/1/{SECRET}/", "WEBHOOK_CAREX"),
        (f"WEBHOOK_CAREX=example.org/rest/1/{SECRET}/", "WEBHOOK_CAREX"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        load(tmp_path, line)
    assert SECRET not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_secret_is_not_in_what_the_settings_print(tmp_path: Path) -> None:
    found = load(tmp_path, f"WEBHOOK_CAREX=https://example.bitrix24.ru/rest/1/{SECRET}/")
    assert SECRET not in f"{found} {found!r} {found.model_dump_json()}"
