"""A job whose row, or that of `post`, somebody has locked: who waits for it, who does not, what they hold meanwhile."""

from __future__ import annotations

import threading

import pytest

import jobs
import queueing
from db import Database
from errors import RowHeld
from tests.claims import certain, settle, take_in, worker
from tests.database import Queries, held, locked, server_cursor
from tests.waiting import wait_for

__all__ = ["worker"]  # a fixture


def test_an_end_that_waits_for_the_row_of_post_holds_no_table(
    own: Database, sql: Queries, database: str, worker: str
) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    with server_cursor(database) as page:  # the web UI is about to change several rows
        page.connection.autocommit = False
        page.execute("SELECT FROM post WHERE id = %s FOR UPDATE", (post,))
        ending = threading.Thread(target=settle, args=(own, job))
        ending.start()
        wait_for(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 60)
        assert sql("SELECT gives_information FROM dwh_tables_info FOR UPDATE NOWAIT") == [(True,)]
        page.connection.rollback()
    ending.join()
    assert sql.status(post) == "файл подготовлен"
    assert not locked(sql)


@pytest.mark.parametrize("table", ["post", "tksva_q.job"])
def test_whoever_would_not_wait_hears_that_somebody_holds_a_row_and_else_has_the_usual_patience(
    own: Database, sql: Queries, worker: str, table: str
) -> None:
    sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    with held(own.conninfo, f"SELECT FROM {table} FOR UPDATE"), pytest.raises(RowHeld), own.transaction() as cursor:
        jobs.lock_or_leave(cursor, job.id)
    with own.transaction() as cursor:
        jobs.lock_or_leave(cursor, job.id)
        for locked_now in ("post", "tksva_q.job"):
            assert sql(f"SELECT FROM {locked_now} FOR UPDATE SKIP LOCKED") == []
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("8s",)


def test_a_job_without_a_row_and_one_that_is_not_there_are_held_by_nobody(own: Database, sql: Queries) -> None:
    with own.transaction() as cursor:
        job = queueing.submit(cursor, "free", {})
    for number in (job, job + 1):
        with own.transaction() as cursor:
            jobs.lock_or_leave(cursor, number)
