"""What people are told of the broker and of the workers behind it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import doctor
import listing
import reports
from db import Database
from leases import Worker
from tests.daemons import make_settings
from tests.database import Queries
from tests.dispatch.servers import running
from tests.waiting import wait_for
from tests.web.server import Web

pytestmark = pytest.mark.timeout(180)


def renew(own: Database, *, manages: bool) -> None:
    with own.statement() as cursor:
        Worker(str(uuid.uuid4()), "here", "1:1", 60, manages).renew(cursor, 0.1)


@pytest.fixture
def away() -> str:
    """BROKER_URL of a broker that is not there; its password is nobody's business."""
    return "amqp://user:hunter2hunter2@127.0.0.1:1/"


def test_the_doctor_says_whether_the_broker_answers(database: str, tmp_path: Path, away: str) -> None:
    with running("redis", tmp_path / "broker") as server:
        assert doctor.broker(make_settings(database, tmp_path, broker_url=server.url)).ok
    found = doctor.broker(make_settings(database, tmp_path, broker_url=away))
    assert not found.ok
    assert "проверьте BROKER_URL" in found.text
    assert "hunter2" not in found.text


def test_the_doctor_misses_workers_and_does_not_take_the_queue_for_one(own: Database) -> None:
    renew(own, manages=True)
    with own.statement() as cursor:
        found = doctor.workers(cursor)
    assert not found.ok
    assert "tksva_q_worker@1" in found.text
    renew(own, manages=False)
    with own.statement() as cursor:
        assert doctor.workers(cursor).ok


def test_a_worker_behind_the_broker_is_no_loop_of_the_queue(own: Database, sql: Queries) -> None:
    renew(own, manages=False)
    with own.statement() as cursor:
        alone = reports.status(cursor)
    assert alone.last_loop_seconds is None
    assert "очередь не работает" in str(listing._loop(alone))
    renew(own, manages=True)
    with own.statement() as cursor:
        both = reports.status(cursor)
    assert "работников за брокером: 1" in str(listing._loop(both))


@pytest.fixture
def page(database: str, tmp_path: Path, away: str) -> Iterator[Web]:
    web = Web(database, tmp_path, broker_url=away)
    web.await_answer()
    yield web
    web.stop()


def test_the_health_of_the_queue_includes_its_broker(page: Web, own: Database) -> None:
    renew(own, manages=True)
    with page.client() as client:
        wait_for(lambda: client.get("/healthz").status_code == 200)
        answer = client.get("/healthz/detailed")
        assert answer.status_code == 503
        assert answer.json()["checks"]["broker"]["status"] == "error"
        assert answer.json()["status"].startswith("broker: ")
        assert "hunter2" not in answer.text
