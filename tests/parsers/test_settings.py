"""Where Kafka is, and which topics; what makes no sense is named."""

from __future__ import annotations

import pytest

from errors import SettingsError
from integrations.parsers.settings import ParserSettings
from settings import load_part


def test_each_kind_of_source_has_a_topic_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_PARSER_TASKS_TOPIC", " own.topic ")
    chosen = load_part(ParserSettings)
    assert chosen.topics == {"rss": "rss_parser_tasks", "vk": "own.topic", "youtube": "youtube_parser_tasks"}
    assert chosen.topic("vk") == "own.topic"


@pytest.mark.parametrize(("host", "broker"), [("kafka.example.org", "kafka.example.org:9093"), ("::1", "[::1]:9093")])
def test_the_address_of_kafka_is_one_however_the_host_is_named(
    monkeypatch: pytest.MonkeyPatch, host: str, broker: str
) -> None:
    monkeypatch.setenv("KAFKA_HOST", host)
    monkeypatch.setenv("KAFKA_PORT", "9093")
    assert load_part(ParserSettings).broker == broker


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("KAFKA_TASK_STATUS_TOPIC", "статусы"),
        ("RSS_PARSER_TASKS_TOPIC", "a b"),
        ("YOUTUBE_PARSER_TASKS_TOPIC", "x" * 250),
        ("KAFKA_PORT", "0"),
        ("KAFKA_MAX_REQUEST_SIZE", "1 МБ"),
        ("DEFAULT_PAGINATION_SIZE", "1001"),
    ],
)
def test_a_value_that_makes_no_sense_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=f"^{key}: .*пример: ") as refused:
        load_part(ParserSettings)
    assert "\n" not in str(refused.value)
