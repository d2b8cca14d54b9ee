"""What the tests of the parser manager share: a broker, tables with sources in them, services in threads."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import child
import db
import schema
from faults.kafka import Broker, running_broker
from integrations.parsers.settings import SOURCE_TYPES
from leases import Worker
from services import Runtime
from tests.daemons import make_settings
from tests.database import Queries
from tests.web.conftest import start_web
from tests.web.server import Web

__all__ = ["start_web"]

SOURCES = """
INSERT INTO parsers.source (name, type, external_id) VALUES ('a', 'rss', '1'), ('b', 'rss', '2'), ('c', 'vk', '3');
INSERT INTO parsers.task_type (code, title, interval_seconds, timeout_seconds) VALUES ('posts', 'Записи', 3600, 600);
INSERT INTO parsers.source_task_type (source_id, task_type_id) SELECT s.id, t.id
FROM parsers.source s, parsers.task_type t
"""
API = "/api/v1"
GROUP = f"{API}/task_group/"
FEED = {"name": "лента", "type": "rss", "external_id": "https://example.org/feed"}
COMMENTS = {"code": "comments", "title": "Комментарии", "interval_seconds": 60, "timeout_seconds": 30}

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One broker for all tests of a process: each has topics of its own."""
    with running_broker() as running:
        yield running


class Parsers:
    """An installation: its settings, its tables, its topics."""

    def __init__(self, sql: Queries) -> None:
        self.sql = sql
        name = f"{os.getpid()}_{next(_numbers)}"
        self.topics = {kind: f"{kind}_{name}" for kind in SOURCE_TYPES}
        self.statuses = f"statuses_{name}"
        self.settings: dict[str, object] = {
            "integrations": "parsers",
            "kafka_task_status_topic": self.statuses,
            "kafka_tasks_consumer_group": f"group_{name}",
            **{f"{kind}_parser_tasks_topic": topic for kind, topic in self.topics.items()},
        }

    def at(self, broker: Broker, **changed: object) -> dict[str, object]:
        """The settings of an installation with this broker."""
        return self.settings | {"kafka_port": broker.advertised, **changed}

    def tasks(self, count: int, kind: str = "rss") -> list[str]:
        """Make tasks of sources of their own in one group, and return their ids."""
        group = self.sql.value(
            "INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)"
            " SELECT id, %s, clock_timestamp(), now() + interval '1 hour' FROM parsers.task_type RETURNING id",
            kind,
        )
        made = self.sql(
            "WITH s AS (INSERT INTO parsers.source (name, type, external_id)"
            "  SELECT 'источник', %s, gen_random_uuid() FROM generate_series(1, %s) RETURNING id)"
            " INSERT INTO parsers.task (group_id, source_id, payload)"
            " SELECT %s, id, jsonb_build_object('task_id', '', 'n', id) FROM s RETURNING id::text",
            kind,
            count,
            group,
        )
        return [task for (task,) in made]

    def states(self) -> dict[str, int]:
        return dict(self.sql("SELECT status, count(*) FROM parsers.task GROUP BY 1"))

    def counters(self) -> dict[str, int]:
        return dict(self.sql("SELECT name, value FROM parsers.counter"))


@pytest.fixture
def parsers(database: str, sql: Queries) -> Parsers:
    schema.migrate(database, workloads=["parsers"])
    sql(SOURCES)
    return Parsers(sql)


@pytest.fixture
def client(parsers: Parsers, start_web: Callable[..., Web]) -> Iterator[httpx.Client]:
    """Of a web process that has no Kafka at all."""
    with start_web(**parsers.settings, kafka_port=1).client() as client:
        yield client


class Serving:
    """A service in a thread of this process."""

    def __init__(self, run: Callable[[Runtime], None], conninfo: str, folder: Path) -> None:
        ours, theirs = multiprocessing.Pipe()
        me = Worker.this_process(600)
        with self._database(conninfo).statement() as cursor:
            me.renew(cursor)
        self.runtime = Runtime(theirs, "test", me.id, make_settings(conninfo, folder), conninfo)
        self.error: BaseException | None = None
        self._channels = (ours, theirs)
        self._thread = threading.Thread(target=self._run, args=(run,))
        self._thread.start()

    @staticmethod
    def _database(conninfo: str) -> db.Database:
        return db.Database(conninfo, "test")

    def _run(self, run: Callable[[Runtime], None]) -> None:
        try:
            run(self.runtime)
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self._channels[0].send(child.Stop())
        self._thread.join(60)
        assert not self._thread.is_alive()
        for channel in self._channels:
            channel.close()
        for database in (self.runtime.database, self.runtime._signs):
            database.close()
        assert self.error is None, self.error


@pytest.fixture
def serve(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a service in a thread, with these settings, for as long as a block lasts."""

    @contextmanager
    def serving(run: Callable[[Runtime], None], **settings: object) -> Iterator[Serving]:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for key, value in settings.items():
                patch.setenv(key.upper(), str(value))
            serving = Serving(run, database, tmp_path)
            try:
                yield serving
            finally:
                serving.stop()

    return serving


def status(task: str, word: str, second: int = 0, **more: object) -> bytes:
    """A status as a parser sends it."""
    occurred_at = datetime(2026, 1, 1, 12, second // 60, second % 60, tzinfo=UTC).isoformat()
    return json.dumps({"task_id": task, "status": word, "occurred_at": occurred_at} | more).encode()


def detail(answer: httpx.Response, status: int) -> str:
    """Why a request was refused."""
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])
