"""From `post` into the queue: every row once, whenever it came."""

from __future__ import annotations

import threading

import pytest

import inbox
import jobs
import leases
from db import Database, DatabaseAway
from errors import UserError
from inbox import Inbox, Request, adopt_unfinished
from tests.database import TABLE, Queries
from tests.plans import history, whole_reads
from tests.waiting import PATIENCE, join


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def accept(request: Request) -> str | None:
    return TABLE


def take(own: Database, taker: Inbox | None = None) -> int:
    return (taker or Inbox(accept)).take_in(own)[0]


def queued(sql: Queries) -> list[int]:
    """The rows that became jobs, in the order in which they will start."""
    return [row[0] for row in sql("SELECT post_id FROM tksva_q.job ORDER BY queued_at, id")]


def end_jobs(sql: Queries) -> None:
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now()")
    sql("UPDATE post SET task_status = 'файл подготовлен'")


# --- every row, once --------------------------------------------------------------------------------------------------


def test_a_new_row_becomes_a_job_with_everything_it_asks_for(own: Database, sql: Queries) -> None:
    post = sql.post("Отчёт (1).csv", conditions={"a": 1}, user=2, timestamp="timestamp '2024-01-02 03:04:05.678901'")
    assert Inbox(accept).take_in(own) == (1, [])
    assert sql(
        "SELECT post_id, user_id, form, params, file_name, queued_at::text, dwh_table, state, attempt, error"
        " FROM tksva_q.job"
    ) == [
        (
            post,
            2,
            "DownloadForStationForm",
            {"a": 1},
            "Отчёт (1).csv",
            "2024-01-02 03:04:05.678901",
            TABLE,
            "waiting",
            0,
            None,
        )
    ]
    assert sql.status(post) == "в очереди"


def test_a_row_is_taken_in_once(own: Database, sql: Queries) -> None:
    sql.post("a.csv")
    taker = Inbox(accept)
    assert [take(own, taker), take(own, taker), take(own)] == [1, 0, 0]


def test_only_rows_that_wait_are_taken_in(own: Database, sql: Queries) -> None:
    for status in (
        "загружено 1 из 2",
        "файл подготовлен",
        "ошибка",
        "файл загружен",
        "скрыта пользователем",
        "скрыта менеджером очереди",
        "В очереди",
        "",
        None,
    ):
        sql("UPDATE post SET task_status = %s WHERE id = %s", status, sql.post("a.csv"))
    assert take(own) == 0


def test_batches_follow_each_other_until_all_rows_are_in(
    own: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BATCH", 4)
    posts = [sql.post(f"{number}.csv") for number in range(10)]
    taker = Inbox(accept)
    assert [take(own, taker) for _ in range(4)] == [4, 4, 2, 0]
    assert sorted(queued(sql)) == posts


def test_rows_of_one_moment_keep_the_order_of_their_ids(own: Database, sql: Queries) -> None:
    sql(
        "INSERT INTO post (id, form_name, task_status, timestamp)"
        " SELECT 1000 - g, 'f', 'в очереди', timestamp '2024-01-01' FROM generate_series(1, 500) g"
    )
    assert take(own) == 500
    assert queued(sql) == list(range(500, 1000))


def test_a_row_that_is_requeued_by_an_update_is_taken_in_again(own: Database, sql: Queries) -> None:
    first, last = sql.post("a.csv"), sql.post("b.csv")
    clock = Clock()
    taker = Inbox(accept, clock)
    take(own, taker)
    end_jobs(sql)
    sql("UPDATE post SET task_status = 'в очереди' WHERE id = %s", first)
    clock.now += 1
    assert take(own, taker) == 1
    assert sorted(queued(sql)) == [first, first, last]


def test_a_row_committed_late_with_a_lower_id_is_found_by_the_whole_look(
    own: Database, sql: Queries, database: str
) -> None:
    clock = Clock()

    def look(request: Request) -> None:
        clock.now += 1

    taker = Inbox(look, clock)
    late = Queries(database)
    late("BEGIN")
    lower = late.post("a.csv")
    higher = sql.post("b.csv")
    assert lower < higher
    assert take(own, taker) == 1  # the whole look took a second: the next one is due in a hundred
    late("COMMIT")
    late.close()
    assert take(own, taker) == 0
    clock.now += 99
    assert take(own, taker) == 0
    clock.now += 2
    assert take(own, taker) == 1
    assert sorted(queued(sql)) == [lower, higher]


def test_between_whole_looks_new_rows_are_found_by_their_id(own: Database, sql: Queries) -> None:
    clock = Clock()

    def look(request: Request) -> None:
        clock.now += 10

    taker = Inbox(look, clock)
    sql.post("a.csv")
    take(own, taker)
    for _ in range(3):
        sql.post("b.csv")
        assert take(own, taker) == 1


def test_whole_looks_that_cost_nothing_are_taken_every_time(own: Database, sql: Queries) -> None:
    taker = Inbox(accept, Clock())
    for _ in range(3):
        post = sql.post("a.csv")
        take(own, taker)
        end_jobs(sql)
        sql("UPDATE post SET task_status = 'в очереди' WHERE id = %s", post)
        assert take(own, taker) == 1
        end_jobs(sql)


def test_a_row_that_is_just_being_changed_is_not_waited_for(own: Database, sql: Queries, database: str) -> None:
    busy, free = sql.post("a.csv"), sql.post("b.csv")
    changing = Queries(database)
    changing("BEGIN")
    changing("UPDATE post SET file_to_download = 'c.csv' WHERE id = %s", busy)
    taker = Inbox(accept, Clock())
    assert take(own, taker) == 1
    changing("COMMIT")
    changing.close()
    assert take(own, taker) == 1
    assert sorted(queued(sql)) == [busy, free]
    assert sql.value("SELECT file_name FROM tksva_q.job WHERE post_id = %s", busy) == "c.csv"


def test_several_inboxes_at_once_take_each_row_once(
    database: str, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "BATCH", 20)
    for number in range(200):
        sql.post(f"{number}.csv", form="good" if number % 4 else "bad")
    both = threading.Barrier(3)
    refusals: list[inbox.Refusal] = []

    def examine(request: Request) -> str | None:
        if request.form == "bad":
            raise UserError("плохая")
        return TABLE

    def run() -> None:
        mine = Database(database, "inbox")
        taker = Inbox(examine)
        both.wait(PATIENCE)
        while (taken := taker.take_in(mine))[0]:
            refusals.extend(taken[1])
        mine.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert sql("SELECT state, count(*), count(DISTINCT post_id) FROM tksva_q.job GROUP BY state ORDER BY state") == [
        ("failed", 50, 50),
        ("waiting", 150, 150),
    ]
    assert len(refusals) == 50


def test_a_row_that_came_in_while_the_database_was_away_is_not_lost(own: Database, sql: Queries, database: str) -> None:
    taker = Inbox(accept, Clock())
    take(own, taker)
    post = sql.post("a.csv")
    sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'test'")
    with pytest.raises(DatabaseAway):
        take(own, taker)
    assert take(own, taker) == 1
    assert queued(sql) == [post]


def test_taking_in_reads_neither_table_as_a_whole_however_long_the_history(own: Database, sql: Queries) -> None:
    history(sql)
    taker = Inbox(accept)
    before = whole_reads(own, sql)
    for number in range(3):
        sql.post(f"new {number}.csv")
        assert take(own, taker) == 1
    assert take(own, taker) == 0
    assert whole_reads(own, sql) == before


# --- what another queue, or a crash before this one, has left ---------------------------------------------------------


def test_rows_in_the_middle_of_a_progress_without_a_job_are_queued_again(own: Database, sql: Queries) -> None:
    left, done = sql.post("a.csv"), sql.post("b.csv")
    sql("UPDATE post SET task_status = 'загружено 50000 из 300000' WHERE id = %s", left)
    sql("UPDATE post SET task_status = 'файл подготовлен' WHERE id = %s", done)
    assert adopt_unfinished(own) == 1
    assert (sql.status(left), sql.status(done)) == ("в очереди", "файл подготовлен")
    assert take(own) == 1
    assert queued(sql) == [left]


def test_rows_whose_job_waits_or_runs_are_not_queued_again(own: Database, sql: Queries) -> None:
    running, waiting = sql.post("a.csv"), sql.post("b.csv")
    take(own)
    me = leases.Worker.this_process(15)
    with own.statement() as cursor:
        me.renew(cursor)
        job = jobs.claim(cursor, me.id, 0)
    assert job is not None
    sql("UPDATE post SET task_status = 'загружено 1 из 2'")
    assert adopt_unfinished(own) == 0
    assert sql.status(running) == sql.status(waiting) == "загружено 1 из 2"


def test_a_row_whose_job_has_ended_long_ago_is_queued_again(own: Database, sql: Queries) -> None:
    post = sql.post("a.csv")
    take(own)
    end_jobs(sql)
    sql("UPDATE post SET task_status = 'загружено 1 из 2'")
    assert adopt_unfinished(own) == 1
    assert sql.status(post) == "в очереди"
