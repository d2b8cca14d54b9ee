"""Which broker BROKER_URL names, and what is said of one that cannot be used."""

from __future__ import annotations

import sys

import pytest

import brokers
from errors import QueueError, SettingsError
from settings import Settings

pytestmark = pytest.mark.timeout(180)


def test_a_scheme_leads_to_its_broker() -> None:
    urls = ("amqps://host/", "rediss://host", "nats://host")
    made = [type(brokers.make(Settings(broker_url=url))).__name__ for url in urls]
    assert made == ["RabbitBroker", "RedisBroker", "NatsBroker"]


@pytest.mark.parametrize(
    ("url", "library"), [("amqp://h/", "aio_pika"), ("redis://h", "taskiq_redis"), ("nats://h", "taskiq_nats")]
)
def test_a_client_that_is_not_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, url: str, library: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("broker_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=rf"BROKER_URL: .*{library}.*requirements-broker.txt"):
        brokers.make(Settings(broker_url=url))


def test_a_url_that_its_client_does_not_understand_is_not_repeated() -> None:
    for url in ("amqp://user:hunter2@host:port/", "redis://user:hunter2@host:port"):
        with pytest.raises(SettingsError, match="BROKER_URL") as wrong:
            brokers.make(Settings(broker_url=url))
        assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize("scheme", ["amqp", "redis", "nats"])
def test_a_broker_that_does_not_answer_is_away(scheme: str) -> None:
    with pytest.raises(QueueError, match=r"refused|не отвечает|onnect|111|NoServers"):
        brokers.check(Settings(broker_url=f"{scheme}://127.0.0.1:1"))
