"""Tasks go out once each, whatever happens to Kafka, to the acknowledgements, or to the sender."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from faults.kafka import Broker, running_broker
from integrations.parsers import kafka, letters, outbox
from services import Runtime
from tests.database import Queries
from tests.parsers.conftest import GROUP, Parsers
from tests.waiting import wait_for

Serve = Callable[..., Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's answers count as lost sooner."""
    monkeypatch.setattr(kafka, "REQUEST_MS", 1500)
    monkeypatch.setattr(outbox, "SEND_SECONDS", 3.0)


def sent(broker: Broker, *topics: str) -> Counter[str]:
    """How often each task is in the topics."""
    return Counter((one.key or b"").decode() for one in broker.read(*topics))


def all_sent(parsers: Parsers) -> None:
    wait_for(lambda: set(parsers.states()) == {"sent"}, 60, lambda: str(parsers.states()))


def test_a_task_is_sent_with_what_a_parser_needs(
    client: httpx.Client, parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    sql("""UPDATE parsers.source SET settings = '{"глубина": 3}' WHERE id = 1""")
    group = next(one for one in client.post(GROUP).json()["groups"] if one["source_type"] == "rss")
    with serve(outbox.run, **parsers.at(broker)):
        all_sent(parsers)
    [message] = [one for one in broker.read(parsers.topics["rss"]) if json.loads(one.value)["source"]["id"] == 1]
    body = json.loads(message.value)
    [(task, created, expires)] = sql(
        "SELECT t.id::text, t.created_at, g.expires_at FROM parsers.task t JOIN parsers.task_group g"
        " ON g.id = t.group_id WHERE t.source_id = 1"
    )
    assert message.key.decode() == task
    assert body == {
        "task_id": task,
        "group_id": group["id"],
        "task_type": "posts",
        "source": {"id": 1, "type": "rss", "external_id": "1", "settings": {"глубина": 3}},
        "created_at": body["created_at"],
        "expires_at": body["expires_at"],
    }
    assert sql.value(
        "SELECT (%s::timestamptz, %s::timestamptz) = (%s, %s)", body["created_at"], body["expires_at"], created, expires
    )
    assert len(broker.read(parsers.topics["vk"])) == 1
    assert sql.value("SELECT count(*) FROM parsers.task WHERE sent_at IS NULL") == 0


def test_while_kafka_is_away_tasks_wait_and_then_each_is_sent_once(
    client: httpx.Client, parsers: Parsers, serve: Serve, sql: Queries
) -> None:
    broker = Broker()  # not there yet
    seen: list[str | None] = []

    def listening(runtime: Runtime) -> None:
        tell = runtime.alive
        runtime.alive = lambda trouble=None: (seen.append(trouble), tell(trouble))[1]  # type: ignore[method-assign]
        outbox.run(runtime)

    try:
        with serve(listening, **parsers.at(broker)), serve(listening, **parsers.at(broker)):
            assert client.post(GROUP).json()["tasks_total"] == 3
            tasks = parsers.tasks(1200)
            wait_for(lambda: any(text and text.startswith("Kafka недоступна: ") for text in seen), 30)
            assert set(parsers.states()) == {"created"}
            broker.start()
            all_sent(parsers)
            found = sent(broker, *parsers.topics.values())
    finally:
        broker.kill()
    assert set(found.values()) == {1}
    assert len(found) == 1203
    assert found.keys() >= set(tasks)


def test_a_message_over_the_limit_fails_its_own_task_alone(
    parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    tasks = parsers.tasks(20)
    sql("UPDATE parsers.task SET payload = jsonb_build_object('x', repeat('ы', 3000)) WHERE id = %s", tasks[7])
    with serve(outbox.run, **parsers.at(broker, kafka_max_request_size=4096)):
        wait_for(lambda: parsers.states() == {"sent": 19, "error": 1}, 30, lambda: str(parsers.states()))
    [(error, finished)] = sql("SELECT error, finished_at FROM parsers.task WHERE id = %s", tasks[7])
    assert error == "сообщение больше, чем берёт Kafka: 6009 байт, KAFKA_MAX_REQUEST_SIZE=4096"
    assert finished is not None
    assert set(sent(broker, parsers.topics["rss"])) == set(tasks) - {tasks[7]}


def test_what_expires_or_was_cancelled_before_it_was_sent_stays_here(
    parsers: Parsers, broker: Broker, serve: Serve, sql: Queries
) -> None:
    old, cancelled, good = parsers.tasks(2, "vk"), parsers.tasks(2, "vk"), parsers.tasks(2, "vk")
    sql(
        "UPDATE parsers.task_group SET expires_at = now() WHERE id = (SELECT group_id FROM parsers.task WHERE id = %s)",
        old[0],
    )
    sql("UPDATE parsers.task SET status = 'cancelled' WHERE id = ANY(%s::uuid[])", cancelled)
    with serve(outbox.run, **parsers.at(broker)):
        wait_for(lambda: parsers.states() == {"created": 2, "cancelled": 2, "sent": 2}, 30)
    assert set(sent(broker, parsers.topics["vk"])) == set(good)


@pytest.mark.usefixtures("quick")
def test_a_task_that_has_arrived_is_not_sent_again_when_nobody_heard_so(
    parsers: Parsers, broker: Broker, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch arrives, and the sender dies before it can write that down."""
    tasks = parsers.tasks(30)
    note, failed = letters.note, []

    def lost(cursor: object, topic: str, outcome: letters.Outcome) -> None:
        if outcome.sent and not failed:
            failed.append(outcome)
            raise SystemExit  # as good as a SIGKILL: nothing is written
        note(cursor, topic, outcome)  # type: ignore[arg-type]

    monkeypatch.setattr(letters, "note", lost)
    serving = serve(outbox.run, **parsers.at(broker))
    with pytest.raises(AssertionError), serving as dying:
        wait_for(lambda: dying.error is not None, 30)
    assert len(failed) == 1
    assert parsers.states() == {"created": 30}
    parsers.tasks(5)
    with serve(outbox.run, **parsers.at(broker)):
        all_sent(parsers)
    found = sent(broker, parsers.topics["rss"])
    assert set(found.values()) == {1}
    assert len(found) == 35
    assert found.keys() >= set(tasks)
    assert parsers.sql("SELECT * FROM parsers.sending") == []


class Cutter:
    """A TCP proxy that breaks a connection instead of passing on that what was sent over it has arrived."""

    PRODUCE = b"\x00\x00"  # the request's number in Kafka's protocol, behind four bytes of length

    def __init__(self, cuts: int) -> None:
        self.cuts = cuts
        self.target = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        cut = False
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
            while True:
                for wire in select.select([client, server], [], [])[0]:
                    data = wire.recv(65536)
                    if not data or (cut and wire is server):
                        return
                    if wire is client and data[4:6] == self.PRODUCE and self.cuts > 0:
                        self.cuts, cut = self.cuts - 1, True
                    (server if wire is client else client).sendall(data)


def test_an_acknowledgement_that_is_lost_on_its_way_makes_no_second_message(parsers: Parsers, serve: Serve) -> None:
    cutter = Cutter(cuts=2)
    tasks = parsers.tasks(700)
    with running_broker(advertised=cutter.port) as broker:
        cutter.target = broker.port
        with serve(outbox.run, **parsers.at(broker)):
            all_sent(parsers)
        found = sent(broker, parsers.topics["rss"])
    cutter.listener.close()
    assert cutter.cuts == 0
    assert set(found.values()) == {1}
    assert found.keys() == set(tasks)


def test_what_stood_in_the_topic_before_is_nobodys_task(parsers: Parsers, broker: Broker, serve: Serve) -> None:
    broker.send(parsers.topics["rss"], [(b"somebody else's", b"{}"), (None, b"x")])
    tasks = parsers.tasks(3)
    with serve(outbox.run, **parsers.at(broker)):
        all_sent(parsers)
    assert sum(sent(broker, parsers.topics["rss"]).values()) == 5
    assert parsers.sql.value("SELECT count(*) FROM parsers.task WHERE sent_at IS NOT NULL") == len(tasks)
