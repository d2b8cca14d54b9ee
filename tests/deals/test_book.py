"""The book: a deal comes in once, a failed one is queued again exactly once, and somebody's return wakes what waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import queueing
from db import Database
from integrations.deals import book
from tests.database import Queries
from tests.deals.conftest import MakeTask, leave, queue, settle, states
from tests.deals.failures import fail


def test_a_deal_that_waits_or_is_done_comes_in_once(deals: Database, sql: Queries, make_task: MakeTask) -> None:
    queue(deals, 1, 1)
    settle(make_task())
    queue(deals, 1)
    assert sql("SELECT state, count(*) FROM tksva_q.job GROUP BY 1") == [("done", 1)]
    assert states(sql) == {"done": 1}


def test_a_deal_that_failed_and_comes_in_again_is_queued_again(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2)
    fail(sql, 1, 2)
    assert states(sql) == {"failed": 2}
    queue(deals, 2)
    assert states(sql) == {"failed": 1, "waiting": 1}
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 2


def test_the_same_deal_from_many_at_once_is_one_job(deals: Database, sql: Queries) -> None:
    ready = threading.Barrier(8)

    def call() -> None:
        own = Database(deals.conninfo, "test")
        own.connect()
        ready.wait(60)
        queue(own, 1)
        own.close()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 1


def test_a_failed_deal_whose_job_was_deleted_is_queued_again_by_a_new_one(
    deals: Database, sql: Queries, make_task: MakeTask
) -> None:
    queue(deals, 1, 2, 3)
    fail(sql, 1, 2, 3)
    sql("DELETE FROM tksva_q.job")  # as an administrator clears away what is old
    queue(deals, 2)
    with deals.transaction() as cursor:
        seen = book.failed(cursor)
        again = book.retry(cursor, seen)
        assert len(again) == 2
        assert book.standing(cursor, again) == {"waiting": 2}
        assert book.failed(cursor) == []
        assert book.retry(cursor, seen) == []  # another caller's, who saw the same
    for _ in range(3):
        settle(make_task())
    assert states(sql) == {"done": 3}


def test_a_cancelled_deal_is_in_the_error_queue(deals: Database, sql: Queries) -> None:
    queue(deals, 1)
    with deals.transaction() as cursor:
        queueing.cancel(cursor, 1)
        assert book.failures(cursor) == [book.Failure(1, 1001, "отменено")]
        assert book.retry(cursor, book.failed(cursor)) == [1]
    assert states(sql) == {"waiting": 1}


def test_five_thousand_are_queued_again_in_a_few_statements(deals: Database, sql: Queries) -> None:
    sql(
        "WITH made AS (INSERT INTO tksva_q.job (form, params)"
        "   SELECT %s, json_build_object('deal_id', n, 'cont_id', n) FROM generate_series(1, 5000) n"
        "   RETURNING id, (params ->> 'deal_id')::bigint AS deal)"
        " INSERT INTO tksva_q.deal (deal_id, cont_id, job_id) SELECT deal, deal, id FROM made",
        book.FORM,
    )
    fail(sql, *range(1, 5001))
    with deals.transaction() as cursor:
        seen = book.failed(cursor)
    assert len(seen) == 5000
    again: list[int] = []
    for start in range(0, 5000, book.RETRIES):
        with deals.transaction() as cursor:
            again += book.retry(cursor, seen[start : start + book.RETRIES])
    assert sorted(again) == sorted(job for job, _ in seen)
    assert states(sql) == {"waiting": 5000}


def test_each_is_given_to_one_of_many_callers(deals: Database, sql: Queries) -> None:
    queue(deals, *range(1, 301))
    fail(sql, *range(1, 301))
    with deals.transaction() as cursor:
        seen = book.failed(cursor)
    given: list[int] = []
    ready = threading.Barrier(4)

    def call() -> None:
        own = Database(deals.conninfo, "test")
        ready.wait(60)
        for start in range(0, 300, 50):
            with own.transaction() as cursor:
                given.extend(book.retry(cursor, seen[start : start + 50]))
        own.close()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(given) == sorted(job for job, _ in seen)


def test_what_has_failed_again_since_it_was_seen_is_left_alone(
    deals: Database, sql: Queries, make_task: MakeTask
) -> None:
    queue(deals, 1)
    fail(sql, 1)
    with deals.transaction() as cursor:
        seen = book.failed(cursor)
        assert book.retry(cursor, seen) == [1]
    settle(make_task(), ValueError("снова"))
    with deals.transaction() as cursor:
        assert book.retry(cursor, seen) == []
        assert book.failures(cursor) == [book.Failure(1, 1001, "снова")]


def test_managers_are_listed_with_leave_turn_and_fairness(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2)
    sql("UPDATE tksva_q.deal SET user_id = '2', why = 'draw' WHERE deal_id = 1")
    sql("UPDATE tksva_q.deal SET user_id = '2', why = 'contact' WHERE deal_id = 2")
    sql("UPDATE tksva_q.deal_manager SET is_drawn = true WHERE user_id = '2'")
    leave(deals, 3)
    with deals.transaction() as cursor:
        book.add(cursor, "10", "Новенький")
        book.add(cursor, "2", "Другое имя")
        assert not book.exclude(cursor, "99", True)
        found = book.managers(cursor)
    assert [one.user_id for one in found] == ["1", "2", "3", "4", "5", "6", "10"]
    assert found[1] == book.Manager("2", "Другое имя", is_excluded=False, is_drawn=True, deals=1)
    assert found[2].is_excluded


def test_who_got_what_is_told_newest_first_with_the_reason(deals: Database, sql: Queries) -> None:
    queue(deals, 1, 2, 3)
    sql(
        "UPDATE tksva_q.deal SET state = 'done', user_id = CASE deal_id WHEN 1 THEN '2' ELSE '77' END,"
        " why = CASE deal_id WHEN 1 THEN 'draw' ELSE 'contact' END,"
        " done_at = timestamptz '2026-11-01 10:00+00' + deal_id * interval '1 hour' WHERE deal_id < 3"
    )
    with deals.transaction() as cursor:
        assert book.assignments(cursor) == [
            book.Assignment(2, 1002, "77", "", datetime(2026, 11, 1, 12, tzinfo=UTC), "contact"),
            book.Assignment(1, 1001, "2", "Менеджер 2", datetime(2026, 11, 1, 11, tzinfo=UTC), "draw"),
        ]
        assert len(book.assignments(cursor, 1)) == 1
        assert book.count(cursor) == {"waiting": 1, "failed": 0, "done": 2}
        assert book.standing(cursor, [1, 3]) == {"done": 1, "waiting": 1}


def test_whoever_comes_back_or_is_new_starts_what_waits_for_them(deals: Database, sql: Queries) -> None:
    def due() -> bool:
        return bool(sql.value("SELECT run_at <= now() FROM tksva_q.job"))

    queue(deals, 1)
    later = "UPDATE tksva_q.job SET run_at = now() + interval '1 hour', error = %s"
    sql(later, book.NOBODY)
    leave(deals, 1)
    assert not due()
    leave(deals, 1, excluded=False)
    assert due()
    sql(later, book.NOBODY)
    with deals.transaction() as cursor:
        book.add(cursor, "7", "Новенький")
    assert due()
    sql(later, "Bitrix24 is away")
    leave(deals, 1, excluded=False)
    assert not due()
