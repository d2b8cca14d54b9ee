"""How far a job is: recorded with its page, shown in `post`, refused where nobody wants the job any more."""

from __future__ import annotations

import pytest

from db import Database
from errors import Cancelled
from jobs import Settlement
from tests.claims import POSITION, certain, record, settle, take_in, worker
from tests.database import Queries

__all__ = ["worker"]  # a fixture


def test_progress_shows_in_post_and_stays_with_the_job(own: Database, sql: Queries, worker: str) -> None:
    post = sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    record(own, job.fence)
    assert sql.status(post) == "загружено 5 из 10"
    assert sql("SELECT rows, total, bytes, cursor FROM tksva_q.job") == [(5, 10, 100, POSITION)]
    assert sql("SELECT page, rows, seconds FROM tksva_q.page") == [(1, 5, {"fetch": 0.5})]


@pytest.mark.parametrize("change", ["UPDATE post SET task_status = 'скрыта пользователем'", "DELETE FROM post"])
def test_a_row_that_nobody_wants_stops_its_job(own: Database, sql: Queries, worker: str, change: str) -> None:
    sql.post("a.csv")
    take_in(own)
    job = certain(own, worker)
    sql(change)
    with pytest.raises(Cancelled):
        record(own, job.fence)
    settle(own, job, Settlement("cancelled", "cancelled", "…"))
    assert sql("SELECT task_status FROM post") in ([], [("скрыта пользователем",)])
    assert sql("SELECT gives_information FROM dwh_tables_info") == [(False,)]
