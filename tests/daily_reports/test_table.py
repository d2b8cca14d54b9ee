"""The rows of a day: what they count, that they are replaced whole, and that nobody sees or leaves half a day."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

import schema
from errors import LostJob
from integrations.daily_reports import run
from integrations.daily_reports.days import read
from integrations.daily_reports.table import LOCK
from tasks import Task
from tests.daily_reports.conftest import Shop
from tests.database import Queries
from tests.waiting import wait_for

DAY = {"start_date": "2024-01-15", "finish_date": "2024-01-15"}
Make = Callable[..., Task]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("REPORT_TIMEZONE", raising=False)


def test_each_order_of_the_day_has_a_row_with_the_sum_of_its_items(shop: Shop, make_task: Make) -> None:
    first = shop.order("2024-01-15 10:00+00", 2, 3)
    second = shop.order("2024-01-15 11:00+00", 7)
    run(make_task(**DAY))
    assert shop.reports() == [("2024-01-15", first, 5), ("2024-01-15", second, 7)]


def test_the_day_begins_at_its_midnight_and_ends_before_the_next(shop: Shop, make_task: Make) -> None:
    shop.order("2024-01-14 23:59:59.999999+00", 1)
    inside = [shop.order(f"2024-01-15 {clock}+00", 1) for clock in ("00:00", "23:59:59.999999")]
    shop.order("2024-01-16 00:00+00", 1)
    run(make_task(**DAY))
    assert [order for _, order, _ in shop.reports()] == inside


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_the_day_is_one_of_the_reports_zone_whatever_the_servers(
    shop: Shop, sql: Queries, make_task: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("REPORT_TIMEZONE", "Europe/Moscow")
    sql(f"ALTER TABLE orders ALTER created_at TYPE {kind} USING created_at AT TIME ZONE 'UTC'")
    sql(f"ALTER DATABASE {sql.value('SELECT current_database()')} SET timezone = 'Asia/Tokyo'")
    sql("SET timezone = 'UTC'")
    shop.order("2024-01-14 20:59:59", 1)
    inside = [shop.order(moment, 1) for moment in ("2024-01-14 21:00", "2024-01-15 20:59:59")]
    shop.order("2024-01-15 21:00", 1)
    run(make_task(**DAY))
    assert [order for _, order, _ in shop.reports()] == inside


def test_orders_without_products_get_no_row(shop: Shop, sql: Queries, make_task: Make) -> None:
    sql("ALTER TABLE order_items ALTER quantity DROP NOT NULL")
    for quantities in ((), (0,), (0, 0), (None,), (5, -5)):
        shop.order("2024-01-15 10:00+00", *quantities)
    kept = shop.order("2024-01-15 10:00+00", None, 4)
    run(make_task(**DAY))
    assert shop.reports() == [("2024-01-15", kept, 4)]


def test_a_second_run_replaces_the_day_and_touches_no_other(shop: Shop, sql: Queries, make_task: Make) -> None:
    changed, gone, emptied = (shop.order("2024-01-15 10:00+00", 2) for _ in range(3))
    other = shop.order("2024-01-16 10:00+00", 9)
    run(make_task(start_date="2024-01-15", finish_date="2024-01-16"))
    sql("UPDATE order_items SET quantity = 8 WHERE order_id = %s", changed)
    sql("UPDATE order_items SET quantity = 0 WHERE order_id = %s", emptied)
    sql("UPDATE orders SET created_at = '2024-01-17 10:00+00' WHERE id = %s", gone)
    sql("UPDATE order_items SET quantity = 1 WHERE order_id = %s", other)
    new = shop.order("2024-01-15 12:00+00", 1)
    run(make_task(**DAY))
    assert shop.reports() == [("2024-01-15", changed, 8), ("2024-01-15", new, 1), ("2024-01-16", other, 9)]


def test_stale_rows_vanish_where_the_day_has_no_orders_any_more(shop: Shop, sql: Queries, make_task: Make) -> None:
    shop.order("2024-01-15 10:00+00", 2)
    run(make_task(**DAY))
    assert len(shop.reports()) == 1
    sql("UPDATE orders SET created_at = '2024-02-01 10:00+00'")
    run(make_task(**DAY))
    assert shop.reports() == []


def test_an_order_may_be_deleted_though_it_was_reported(shop: Shop, sql: Queries, make_task: Make) -> None:
    shop.order("2024-01-15 10:00+00", 2)
    run(make_task(**DAY))
    sql("DELETE FROM order_items; DELETE FROM orders")
    assert shop.reports() == []


# --- one statement, one transaction -----------------------------------------------------------------------------------


def test_all_orders_are_summed_and_written_by_one_statement_in_one_transaction(
    shop: Shop, sql: Queries, make_task: Make
) -> None:
    shop.many(2000, "2024-01-15 10:00+00")
    run(make_task(**DAY))
    sql("UPDATE orders SET created_at = '2024-03-01' WHERE id % 2 = 0; UPDATE order_items SET quantity = 5")
    sql(
        """
        CREATE TABLE seen (what text, transaction xid8 DEFAULT pg_current_xact_id(), zone text, time_limit text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen (what, zone, time_limit)
            VALUES (TG_OP, current_setting('timezone'), current_setting('statement_timeout'));
            RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON reports FOR EACH STATEMENT EXECUTE FUNCTION note();
        ALTER TABLE order_items RENAME TO items;
        CREATE SEQUENCE reads;
        CREATE FUNCTION read_items() RETURNS SETOF items LANGUAGE plpgsql AS $$ BEGIN
            PERFORM nextval('reads');
            RETURN QUERY SELECT * FROM items;
        END $$;
        CREATE VIEW order_items AS SELECT * FROM read_items();
        """
    )
    run(make_task(**DAY))
    assert sql("SELECT count(*), min(count_product), max(count_product) FROM reports") == [(1000, 10, 10)]
    # An INSERT that may meet its row fires the triggers of an UPDATE, too.
    assert sorted(what for (what,) in sql("SELECT what FROM seen")) == ["DELETE", "INSERT", "UPDATE"]
    assert sql.value("SELECT count(DISTINCT transaction) FROM seen") == 1
    assert sql.value("SELECT last_value FROM reads") == 1  # not once an order
    assert sql("SELECT DISTINCT zone, time_limit FROM seen") == [("UTC", "6h")]  # JOB_TIMEOUT, not a short call's


def test_nobody_sees_the_day_without_its_rows(shop: Shop, sql: Queries, make_task: Make, database: str) -> None:
    shop.many(300, "2024-01-15 10:00+00")
    run(make_task(**DAY))
    counts: set[int] = set()
    done = threading.Event()

    def look() -> None:
        own = Queries(database)
        while not done.is_set():
            counts.add(own.value("SELECT count(*) FROM reports"))
        own.close()

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        run(make_task(**DAY))
    done.set()
    reader.join(20)
    assert counts == {300}


def test_a_run_that_fails_leaves_the_day_as_it_was(shop: Shop, sql: Queries, make_task: Make) -> None:
    order = shop.order("2024-01-15 10:00+00", 2)
    run(make_task(**DAY))
    shop.order("2024-01-15 10:00+00", 2**31 - 1, 1)  # more than the column holds
    sql("UPDATE order_items SET quantity = 3 WHERE order_id = %s", order)
    task = make_task(**DAY)
    with pytest.raises(psycopg2.errors.NumericValueOutOfRange):
        run(task)
    assert shop.reports() == [("2024-01-15", order, 2)]
    assert sql.value("SELECT rows FROM tksva_q.job WHERE id = %s", task.job.id) == 0


def test_whoever_has_lost_the_job_changes_nothing(shop: Shop, sql: Queries, make_task: Make) -> None:
    shop.order("2024-01-15 10:00+00", 2)
    task = make_task(**DAY)
    sql("UPDATE tksva_q.job SET attempt = attempt + 1")
    with pytest.raises(LostJob):
        run(task)
    assert shop.reports() == []


# --- many at once -----------------------------------------------------------------------------------------------------


def test_twenty_at_once_end_as_one(shop: Shop, sql: Queries, make_task: Make) -> None:
    shop.many(50, "2024-01-15 10:00+00")
    tasks = [make_task(**DAY) for _ in range(20)]
    together = threading.Barrier(20)

    def at_once(task: Task) -> None:
        together.wait(20)
        run(task)

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(at_once, tasks))
    assert sql("SELECT count(*), count(DISTINCT order_id), sum(count_product) FROM reports") == [(50, 50, 150)]
    assert sql.value("SELECT count(*) FROM tksva_q.job WHERE rows = 1") == 20


def test_whoever_waited_counts_what_has_come_meanwhile(shop: Shop, sql: Queries, make_task: Make) -> None:
    stays, moves = shop.order("2024-01-15 10:00+00", 2), shop.order("2024-01-15 10:00+00", 2)
    sql("SELECT pg_advisory_lock(%s, %s)", LOCK, read("2024-01-15").toordinal())
    task = make_task(**DAY)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run, task)
        try:
            wait_for(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            sql("UPDATE orders SET created_at = '2024-03-01' WHERE id = %s", moves)
            new = shop.order("2024-01-15 10:00+00", 4)
        finally:
            sql("SELECT pg_advisory_unlock_all()")
        running.result(20)
    assert shop.reports() == [("2024-01-15", stays, 2), ("2024-01-15", new, 4)]


def test_different_days_do_not_wait_for_each_other(shop: Shop, sql: Queries, make_task: Make) -> None:
    shop.order("2024-01-15 10:00+00", 2)
    sql("SELECT pg_advisory_lock(%s, %s)", LOCK, read("2024-01-16").toordinal())
    run(make_task(**DAY))
    assert len(shop.reports()) == 1


# --- the tables -------------------------------------------------------------------------------------------------------

GIVEN = """
CREATE TABLE orders (id bigserial PRIMARY KEY, created_at timestamp, customer text);
CREATE TABLE order_items (order_id bigint REFERENCES orders, quantity smallint, price numeric);
INSERT INTO orders (created_at, customer) VALUES ('2024-01-15 10:00', 'somebody');
INSERT INTO order_items VALUES (1, 2, 9.99);
"""


def tables(conninfo: str) -> set[str]:
    queries = Queries(conninfo)
    found = {row[0] for row in queries("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    queries.close()
    return found & {"orders", "order_items", "reports"}


def test_the_given_tables_are_made_only_where_they_are_absent_and_always_stay(empty_database: str) -> None:
    for _ in range(2):
        for _ in range(2):
            schema.migrate(empty_database, workloads=["daily_reports"])
            assert tables(empty_database) == {"orders", "order_items", "reports"}
        schema.migrate(empty_database, "base")
        assert tables(empty_database) == {"orders", "order_items"}


def test_a_shop_that_is_there_is_left_as_it_is(empty_database: str) -> None:
    queries = Queries(empty_database)
    queries(GIVEN)
    columns = (
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_name IN ('orders', 'order_items') ORDER BY 1, 2"
    )
    before = queries(columns)
    schema.migrate(empty_database, workloads=["daily_reports"])
    assert queries(columns) == before
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        queries("INSERT INTO reports (report_at, order_id, count_product) VALUES ('2024-01-15', 2, 1)")
    queries("INSERT INTO reports (report_at, order_id, count_product) VALUES ('2024-01-15', 1, 1)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        queries("INSERT INTO reports (report_at, order_id, count_product) VALUES ('2024-01-15', 1, 2)")
    schema.migrate(empty_database, "base")
    assert queries(columns) == before
    assert queries("SELECT customer, quantity FROM orders JOIN order_items ON order_id = id") == [("somebody", 2)]
    queries.close()
