"""How far behind the data of a source are."""

from __future__ import annotations

import datetime

import pytest

from db import Database, DatabaseAway
from integrations.timers import definitions, freshness
from tests.database import Queries
from tests.timers.conftest import START, TIMER, Define

SALES = '[[sources]]\nname = "sales"\ntable = "zakaz.sales"\ndate_column = "day"\n'
pytestmark = pytest.mark.usefixtures("queue")


@pytest.mark.parametrize(("days", "status"), [(0, "ok"), (1, "ok"), (2, "warning"), (3, "error"), (None, "error")])
def test_a_source_is_judged_by_its_newest_date_that_is_not_in_the_future(
    queue: Database, define: Define, sql: Queries, days: int | None, status: str
) -> None:
    define(TIMER + SALES)
    sql("CREATE TABLE zakaz.sales (day date)")
    if days is not None:
        sql("INSERT INTO zakaz.sales VALUES (%s), (%s)", START.date() - datetime.timedelta(days), "2030-01-01")
    with queue.transaction() as cursor:
        [found] = freshness.look(cursor, definitions.load(), START)
    assert (found.status, found.days_behind) == (status, days)
    assert found.total_rows == (0 if days is None else 2)
    if days is None:
        assert found.text == "нет данных"


def test_only_dates_in_the_future_are_no_data(queue: Database, define: Define, sql: Queries) -> None:
    define(TIMER + SALES)
    sql("CREATE TABLE zakaz.sales (day timestamp); INSERT INTO zakaz.sales VALUES ('2030-01-01 00:00')")
    with queue.transaction() as cursor:
        [found] = freshness.look(cursor, definitions.load(), START)
    assert (found.status, found.text, found.total_rows) == ("error", "нет данных", 1)


def test_today_is_that_of_the_zone(queue: Database, define: Define, sql: Queries) -> None:
    define(TIMER + SALES)
    sql("CREATE TABLE zakaz.sales (day date); INSERT INTO zakaz.sales VALUES ('2026-01-10')")
    with queue.transaction() as cursor:
        [found] = freshness.look(cursor, definitions.load(), datetime.datetime(2026, 1, 11, 22, tzinfo=datetime.UTC))
    assert found.days_behind == 2  # in Moscow it is the 12th


def test_a_source_that_cannot_be_read_hides_no_other(queue: Database, define: Define, sql: Queries) -> None:
    define(TIMER + SALES.replace("sales", "nowhere") + SALES)
    sql("CREATE TABLE zakaz.sales (day date); INSERT INTO zakaz.sales VALUES (%s)", START.date())
    with queue.transaction() as cursor:
        found = freshness.look(cursor, definitions.load(), START)
    assert [(one.source, one.status) for one in found] == [("nowhere", "error"), ("sales", "ok")]


def test_a_table_that_does_not_answer_hides_no_other_and_its_limits_are_its_own(
    queue: Database, define: Define, sql: Queries, tables: str
) -> None:
    define(TIMER + SALES.replace("sales", "locked") + SALES.replace("sales", "slow") + SALES)
    sql("CREATE TABLE zakaz.locked (day date); CREATE VIEW zakaz.slow AS SELECT current_date AS day FROM pg_sleep(60)")
    sql("CREATE TABLE zakaz.sales (day date); INSERT INTO zakaz.sales VALUES (%s)", START.date())
    loader = Database(tables, "a loader")
    with loader.transaction(60) as busy, queue.transaction() as cursor:
        busy.execute("LOCK TABLE zakaz.locked")
        found = freshness.look(cursor, definitions.load(), START)
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        assert cursor.fetchone() == ("10s", "8s")
    loader.close()
    assert [(one.source, one.status, one.text) for one in found[:2]] == [
        ("locked", "error", "таблица не отвечает"),
        ("slow", "error", "таблица не отвечает"),
    ]
    assert found[2].status == "ok"


def test_a_source_that_was_read_may_be_loaded_anew_at_once(
    queue: Database, define: Define, sql: Queries, tables: str
) -> None:
    define(TIMER + SALES)
    sql("CREATE TABLE zakaz.sales (day date); INSERT INTO zakaz.sales VALUES (%s)", START.date())
    with queue.transaction() as cursor:
        assert freshness.look(cursor, definitions.load(), START)[0].status == "ok"
        sql("SET lock_timeout = '1s'; TRUNCATE zakaz.sales")


def test_a_connection_that_is_lost_meanwhile_is_no_word_about_a_source(
    queue: Database, define: Define, sql: Queries
) -> None:
    define(TIMER + SALES)
    with pytest.raises(DatabaseAway), queue.transaction() as cursor:
        sql("SELECT pg_terminate_backend(%s)", cursor.connection.info.backend_pid)
        freshness.look(cursor, definitions.load(), START)
