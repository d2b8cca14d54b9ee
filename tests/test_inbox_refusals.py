"""Rows of `post` that cannot become jobs: an error at once, its reason kept, and no other row held up."""

from __future__ import annotations

import json

import psycopg2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import queue_manager
from db import Database
from errors import UserError
from inbox import Inbox, Request
from tests.database import TABLE, Queries, server_cursor


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
