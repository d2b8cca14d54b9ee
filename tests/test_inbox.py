"""From `post` into the queue: every row once, whatever it holds and whenever it came."""

from __future__ import annotations

import json
import threading

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inbox
import jobs
import leases
import queue_manager
from db import Database, DatabaseAway
from errors import UserError
from inbox import Inbox, Request, adopt_unfinished
from tests.conftest import TABLE, Queries, server_cursor
from tests.plans import history, whole_reads


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
        both.wait(5)
        while (taken := taker.take_in(mine))[0]:
            refusals.extend(taken[1])
        mine.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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


# --- what cannot be a job ---------------------------------------------------------------------------------------------


def test_a_refused_row_is_an_error_at_once_and_its_reason_is_kept_by_the_queue(own: Database, sql: Queries) -> None:
    bad, good = sql.post("a.csv", form="bad"), sql.post("b.csv")

    def examine(request: Request) -> str | None:
        if request.form == "bad":
            raise UserError("форма не годится")
        return TABLE

    taken, refusals = Inbox(examine).take_in(own)
    assert taken == 2
    assert [(refusal.request.post_id, refusal.reason) for refusal in refusals] == [(bad, "форма не годится")]
    assert (sql.status(bad), sql.status(good)) == ("ошибка", "в очереди")
    assert sql("SELECT state, error, finished_at IS NULL FROM tksva_q.job ORDER BY post_id") == [
        ("failed", "форма не годится", False),
        ("waiting", None, True),
    ]


def test_a_refused_row_says_when(own: Database, sql: Queries) -> None:
    post = sql.post("a.csv")
    sql("UPDATE post SET task_status_timestamp = '2000-01-01'")
    Inbox(queue_manager.examine).take_in(own)
    sql("UPDATE post SET form_name = 'x', task_status = 'в очереди'")
    sql("DELETE FROM tksva_q.job")
    Inbox(queue_manager.examine).take_in(own)
    assert sql.status(post) == "ошибка"
    assert sql.value("SELECT task_status_timestamp > localtimestamp - interval '1 minute' FROM post")


def test_a_reason_that_the_database_cannot_store_is_stored_as_it_can(own: Database, sql: Queries) -> None:
    def examine(request: Request) -> str | None:
        raise UserError("a \0, half a pair \ud83d,\nanother line")

    post = sql.post("a.csv")
    Inbox(examine).take_in(own)
    assert sql.status(post) == "ошибка"
    assert sql.value("SELECT error FROM tksva_q.job") == "a \\x00, half a pair \\ud83d, another line"


def test_a_check_that_is_itself_wrong_spoils_its_row_only(own: Database, sql: Queries) -> None:
    def examine(request: Request) -> str | None:
        return {"a.csv": TABLE}[request.file_name or ""]

    good, bad = sql.post("a.csv"), sql.post("b.csv")
    taken, refusals = Inbox(examine).take_in(own)
    assert taken == 2
    assert [refusal.request.post_id for refusal in refusals] == [bad]
    assert (sql.status(good), sql.status(bad)) == ("в очереди", "ошибка")
    assert sql.value("SELECT error FROM tksva_q.job WHERE post_id = %s", bad) == "KeyError: 'b.csv'"


def test_a_row_of_nothing_but_nulls_is_refused(own: Database, sql: Queries) -> None:
    post = sql.value("INSERT INTO post (task_status) VALUES ('в очереди') RETURNING id")
    taken, refusals = Inbox(queue_manager.examine).take_in(own)
    assert (taken, len(refusals)) == (1, 1)
    assert sql.status(post) == "ошибка"
    assert sql.value("SELECT queued_at IS NOT NULL FROM tksva_q.job")


NONSENSE = [
    "null",
    "[]",
    '"text"',
    "1",
    "{}",
    '{"station_name": null}',
    '{"station_name": "\\u0000", "start_date": "2024-01-01", "finish_date": "2024-01-02"}',
    '{"station_name": "\\ud800", "start_date": "2024-01-01", "finish_date": "2024-01-02"}',
    '{"station_name": "a", "start_date": 1e999, "finish_date": "2024-01-02"}',
    '{"station_name": ' + "9" * 10_000 + "}",
    '{"station_name": {"a": ' + "[" * 500 + "]" * 500 + "}}",
    '{"station_name": "' + "Т" * 10_000 + '", "start_date": "2024-01-01", "finish_date": "2024-01-02"}',
    '{"station_name": "\'; drop table post; --", "start_date": "2024-01-01", "finish_date": "2024-01-02"}',
    '{"station_name": "a", "start_date": "2024-02-30", "finish_date": "2024-03-01"}',
    '{"station_name": "a", "start_date": "2024-02-02", "finish_date": "2024-02-01"}',
    '{"station_name": "a", "station_name": 1, "start_date": "2024-02-02", "finish_date": "2024-02-01"}',
    '{"station_name": "%s %(a)s {}", "start_date": "%s", "finish_date": "2024-02-01"}',
]


def test_conditions_that_make_no_sense_are_refused_and_the_next_row_is_not(own: Database, sql: Queries) -> None:
    rows = {}
    for conditions in NONSENSE:
        rows[sql.post("a.csv", conditions=conditions)] = conditions
        sql.post("b.csv")
    taken, refusals = Inbox(queue_manager.examine).take_in(own)
    assert taken == 2 * len(NONSENSE)
    assert [rows[refusal.request.post_id] for refusal in refusals] == NONSENSE
    assert all(refusal.reason for refusal in refusals)
    assert sql("SELECT task_status, count(*) FROM post GROUP BY 1 ORDER BY 1") == [
        ("в очереди", len(NONSENSE)),
        ("ошибка", len(NONSENSE)),
    ]


def test_conditions_as_deep_as_the_database_takes_are_refused_and_do_not_stop_the_queue(
    own: Database, sql: Queries, database: str
) -> None:
    """A text that PostgreSQL could read once, with little on its stack, it may not be able to read again."""

    def depth_fits(depth: int) -> bool:
        try:
            with server_cursor(database) as cursor:
                cursor.execute("INSERT INTO post (conditions) VALUES (%s)", ("[" * depth + "]" * depth,))
        except psycopg2.errors.StatementTooComplex:
            return False
        return True

    low, high = 1000, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if depth_fits(middle) else (low, middle)
    sql("DELETE FROM post")
    bad, good = sql.post("a.csv", conditions="[" * low + "]" * low), sql.post("b.csv")
    taken, refusals = Inbox(queue_manager.examine).take_in(own)
    assert (taken, [refusal.request.post_id for refusal in refusals]) == (2, [bad])
    assert (sql.status(bad), sql.status(good)) == ("ошибка", "в очереди")


def test_rows_of_every_kind_of_text_are_taken_in_or_refused(own: Database, sql: Queries) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=140)
    values = st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=5,
    )

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.none() | text, st.none() | text, values, st.sampled_from(["localtimestamp", "NULL", "'infinity'"]))
    def check(file_name: str | None, form: str | None, conditions: object, timestamp: str) -> None:
        sql("DELETE FROM tksva_q.job")
        sql("DELETE FROM post")
        post = sql.post(file_name, form, json.dumps(conditions), timestamp=timestamp)
        taken, refusals = Inbox(queue_manager.examine).take_in(own)
        assert taken == 1
        assert sql.status(post) == ("ошибка" if refusals else "в очереди")
        assert sql("SELECT file_name, form FROM tksva_q.job") == [(file_name, form)]

    check()


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
