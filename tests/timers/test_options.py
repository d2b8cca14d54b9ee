"""What an installation chooses about the timers; what makes no sense is said in one line, and no secret told."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import SettingsError
from integrations.timers import definitions
from tests import ROOT


def test_without_a_choice_postgresql_alone_keeps_the_journal_and_nobody_is_told() -> None:
    chosen = definitions.options()
    assert (chosen.ch_host, chosen.ch_port, chosen.ch_user, chosen.ch_database) == ("", None, "default", "zakaz")
    assert (chosen.smtp_host, chosen.smtp_port, chosen.smtp_use_tls, chosen.alert_email_to) == ("", 587, True, None)
    assert (chosen.alert_repeat_hours, chosen.alert_webhook) == (24.0, None)
    assert chosen.schedules_file == ROOT / "schedules.toml"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("SMTP_PORT", "70000", "SMTP_PORT"),
        ("ALERT_EMAIL_TO", "никто", "ALERT_EMAIL_TO"),
        ("ALERT_WEBHOOK", "ftp://example.org/s3cret-word", "ALERT_WEBHOOK"),
        ("CH_DATABASE", "zakaz; DROP TABLE x", "CH_DATABASE"),
        ("ALERT_REPEAT_HOURS", "никогда", "ALERT_REPEAT_HOURS"),
        ("TG_API_URL", "s3cret-word", "TG_API_URL"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_in_one_line_with_an_example(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, said: str
) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError) as error:
        definitions.options()
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert "пример" in str(error.value)
    assert "s3cret-word" not in str(error.value)


def test_secrets_do_not_show_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("CH_PASSWORD", "SMTP_PASSWORD", "TG_BOT_TOKEN"):
        monkeypatch.setenv(key, "s3cret-word")
    monkeypatch.setenv("ALERT_WEBHOOK", "https://example.org/s3cret-word")
    assert "s3cret-word" not in repr(definitions.options())


def test_the_file_of_definitions_is_meant_from_the_installations_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEDULES_FILE", str(tmp_path / "own.toml"))
    assert definitions.options().schedules_file == tmp_path / "own.toml"
