"""What monitoring is told of parsers."""

from __future__ import annotations

import random
import threading

import pytest

from db import Database
from integrations.parsers import figures, groups, page
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


# --- counts of tasks --------------------------------------------------------------------------------------------------

COUNTED = "SELECT status, source_type, sum(tasks)::int FROM parsers.task_count GROUP BY 1, 2 HAVING sum(tasks) <> 0"
PRESENT = (
    "SELECT k.status, g.source_type, count(*) FROM parsers.task k JOIN parsers.task_group g ON g.id = k.group_id"
    " GROUP BY 1, 2"
)


def test_counts_follow_whatever_becomes_of_tasks(parsers: Parsers, sql: Queries) -> None:
    first, *_ = parsers.tasks(5)
    parsers.tasks(3, "vk")
    assert sorted(sql(COUNTED)) == [("created", "rss", 5), ("created", "vk", 3)]
    for change in (
        "UPDATE parsers.task SET status = 'sent'",
        "UPDATE parsers.task SET items = 1",
        f"UPDATE parsers.task SET status = 'error' WHERE id = '{first}'",
        "UPDATE parsers.source SET type = 'youtube' WHERE type = 'rss'",  # its tasks stay those of their group
        f"DELETE FROM parsers.task WHERE id = '{first}'",
        "DELETE FROM parsers.task_group WHERE source_type = 'rss'",
    ):
        sql(change)
        assert sorted(sql(COUNTED)) == sorted(sql(PRESENT)), change
    assert sql(COUNTED) == [("sent", "vk", 3)]
    sql("TRUNCATE parsers.task_group CASCADE")
    assert sql(COUNTED) == []


def test_counts_are_exact_whoever_changes_tasks_at_the_same_time(parsers: Parsers, sql: Queries) -> None:
    tasks = parsers.tasks(40)
    ready = threading.Barrier(5)

    def change(seed: int) -> None:
        own, chance = Database(sql.conninfo, "test"), random.Random(seed)  # noqa: S311 -- chance, not a secret
        own.connect()
        ready.wait(60)
        for _ in range(40):
            with own.transaction() as cursor:
                for task in sorted(chance.sample(tasks, 3)):
                    status = chance.choice(["sent", "in_progress", "success", "error"])
                    cursor.execute("UPDATE parsers.task SET status = %s WHERE id = %s", (status, task))
        own.close()

    def fold() -> None:
        own = Database(sql.conninfo, "test")
        own.connect()
        ready.wait(60)
        for _ in range(40):
            with own.transaction() as cursor:
                groups.fold_counts(cursor)
        own.close()

    threads = [threading.Thread(target=change, args=(seed,)) for seed in range(3)]
    threads += [threading.Thread(target=fold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(sql(COUNTED)) == sorted(sql(PRESENT))
    with Database(sql.conninfo, "test").transaction() as cursor:
        groups.fold_counts(cursor)
    assert sorted(sql("SELECT * FROM parsers.task_count")) == sorted(sql(PRESENT))


def rows_read(own: Database, sql: Queries) -> int:
    """How many rows of the tasks were read so far, by whatever way."""
    with own.statement() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    return int(
        sql.value(
            "SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid)"
            " FROM pg_stat_user_tables t WHERE schemaname = 'parsers' AND relname = 'task'"
        )
    )


def test_neither_a_scrape_nor_the_page_reads_the_tasks(parsers: Parsers, sql: Queries, own: Database) -> None:
    sql(
        "INSERT INTO parsers.source (name, type, external_id)"
        " SELECT 'many', 'rss', 'x' || n FROM generate_series(1, 100) n"
    )
    sql(
        "INSERT INTO parsers.task_group (task_type_id, source_type, planned_for, expires_at)"
        " SELECT 1, 'rss', now() - n * interval '1 hour', now() FROM generate_series(1, 500) n"
    )
    sql(
        "INSERT INTO parsers.task (group_id, source_id, status, payload, created_at)"
        " SELECT g.id, s.id, 'success', '{}', g.planned_for FROM parsers.task_group g, parsers.source s"
        " WHERE s.name = 'many'"
    )
    sql("ANALYZE parsers.task; ANALYZE parsers.task_group; ANALYZE parsers.source")
    before = rows_read(own, sql)
    with own.transaction() as cursor:
        assert figures.tasks(cursor) == [("success", "rss", 50_000)]
        list(figures.collect(cursor))
        figures.checks(cursor)
        assert page.read(cursor)["tasks"]["success"] == {"rss": 50_000}
    # Of twenty groups, and a few for each of a hundred sources.
    assert rows_read(own, sql) - before < 10_000
