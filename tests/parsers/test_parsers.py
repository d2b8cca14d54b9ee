"""What the parser manager brings along: schedules, services, a page, figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import services
from integrations.parsers import SERVICES
from tests.daemons import Daemon
from tests.database import Queries
from tests.parsers.conftest import Parsers
from tests.waiting import wait_for


def test_both_calls_are_schedules_of_the_queue(
    parsers: Parsers, sql: Queries, start_daemon: Callable[..., Daemon]
) -> None:
    start_daemon(**parsers.settings, kafka_workers_enabled="off")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.schedule WHERE name LIKE 'parsers_%%'") == 2, 30)
    parsers.tasks(1)
    sql("UPDATE parsers.task SET status = 'success'")
    sql("UPDATE parsers.task_group SET planned_for = now() - interval '90 days', expires_at = now()")
    sql("INSERT INTO tksva_q.job (form, params) VALUES ('parsers_generate', '{}'), ('parsers_cancel_expired', '{}')")
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") >= 2, 60)
    assert sql("SELECT status, count(*) FROM parsers.task GROUP BY 1") == [("created", 3)]


def test_kafka_left_to_others_is_no_service_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [service.name for service in SERVICES()] == ["parsers_outbox", "parsers_consumer"]
    monkeypatch.setenv("KAFKA_WORKERS_ENABLED", "false")
    assert SERVICES() == ()
    assert services.defined([]) == {}
