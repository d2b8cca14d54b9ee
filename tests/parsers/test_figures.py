"""What monitoring is told of parsers."""

from __future__ import annotations

import pytest

from db import Database
from integrations.parsers import figures
from integrations.parsers.figures import Partition
from tests.database import Queries
from tests.parsers.conftest import Parsers


def test_what_an_end_that_is_not_known_yet_leaves_is_no_negative_lag() -> None:
    assert Partition("t", 0, 5, 9).lag == 4
    assert Partition("t", 0, 5, 0).lag == 0


def test_tasks_lag_and_counters_are_metrics(parsers: Parsers, sql: Queries, own: Database) -> None:
    parsers.tasks(2)
    parsers.tasks(1, "vk")
    sql("INSERT INTO parsers.consumed VALUES ('t', 0, 5, 9), ('t', 1, 7, 7), ('t', 2, 3, 0)")
    sql("UPDATE parsers.counter SET value = 8 WHERE name = 'malformed'")
    with own.transaction() as cursor:
        told = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in figures.collect(cursor)
            for sample in metric.samples
        }
    assert told[("tksva_q_parser_tasks", "created", "rss")] == 2
    assert told[("tksva_q_parser_tasks", "created", "vk")] == 1
    assert told[("tksva_q_parser_lag",)] == 4
    assert told[("tksva_q_parser_malformed_total",)] == 8
    assert told[("tksva_q_parser_applied_total",)] == 0
    assert told[("tksva_q_parser_oldest_unsent_seconds",)] >= 0


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (120, "warning")])
def test_a_task_that_waits_long_to_be_sent_is_a_reason_to_look(
    parsers: Parsers, sql: Queries, own: Database, seconds: int, status: str
) -> None:
    parsers.tasks(1)
    sql("UPDATE parsers.task SET created_at = now() - make_interval(secs => %s)", seconds)
    with own.transaction() as cursor:
        assert figures.checks(cursor)["parser_outbox"].status == status
    sql("UPDATE parsers.task SET status = 'sent'")
    with own.transaction() as cursor:
        assert figures.checks(cursor)["parser_outbox"].text == "отправлено"


@pytest.mark.parametrize(("lag", "status"), [(figures.LAG, "ok"), (figures.LAG + 1, "warning")])
def test_a_lag_is_a_warning_beyond_its_limit(
    parsers: Parsers, sql: Queries, own: Database, lag: int, status: str
) -> None:
    sql("INSERT INTO parsers.consumed VALUES ('t', 0, 0, %s)", lag)
    with own.transaction() as cursor:
        check = figures.checks(cursor)["parser_lag"]
    assert (check.status, check.text) == (status, f"не применено статусов: {lag}")
