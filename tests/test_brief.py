"""Jobs of some milliseconds are claimed and settled together, and keep every promise that the others have."""

from __future__ import annotations

import time

import pytest

import brief
import child
import jobs
import processings
import queueing
from db import Database
from errors import LostJob, UserError
from processings import REGISTER, Processing, processing
from tasks import Task
from tests.claims import new_worker
from tests.daemons import Daemon, Start, children_of
from tests.database import TABLE, Queries, server_cursor
from tests.parent import Parent, parent
from tests.waiting import wait_for

__all__ = ["parent"]

FORMS = ["brief", "tiny"]


@pytest.fixture
def worker(own: Database) -> str:
    return new_worker(own, 600)


def submit(own: Database, *forms: str, **columns: object) -> list[int]:
    with own.transaction() as cursor:
        return [queueing.submit(cursor, form, {}, **columns) for form in forms]  # type: ignore[arg-type]


def claim_more(own: Database, worker: str) -> list[jobs.Job]:
    with own.statement() as cursor:
        return brief.claim_more(cursor, worker, 3, FORMS)


# --- claiming ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_what_comes_next_up_to_a_job_of_another_kind(own: Database, worker: str, sql: Queries) -> None:
    low = submit(own, "brief", priority=1)
    usual = submit(own, "brief", "tiny", "brief", "long", "brief")
    high = submit(own, "tiny", priority=10)
    batch = claim_more(own, worker)
    assert [job.id for job in batch] == [*high, *usual[:3]]
    assert {(job.attempt, job.spent, job.worker, job.slot) for job in batch} == {(1, 1, worker, 3)}
    assert claim_more(own, worker) == []  # the long one is next
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now() WHERE form = 'long'")
    assert [job.id for job in claim_more(own, worker)] == [usual[4], *low]
    assert sql("SELECT count(*), count(DISTINCT job_id), min(host) FROM tksva_q.attempt") == [(6, 6, "elsewhere")]


def test_a_batch_has_its_bound(own: Database, worker: str) -> None:
    waiting = submit(own, *["brief"] * 50)
    assert [job.id for job in claim_more(own, worker)] == waiting[: brief.BATCH - 1]


@pytest.mark.parametrize(
    "why",
    ["held = true", "run_at = now() + interval '1 hour'", f"dwh_table = '{TABLE}'", "form = NULL", "worker = NULL"],
)
def test_what_may_not_be_claimed_is_in_no_batch(own: Database, worker: str, sql: Queries, why: str) -> None:
    (job,) = submit(own, "brief")
    if why == "worker = NULL":
        sql("UPDATE tksva_q.worker SET seen_at = now() - interval '1 day'")
    else:
        sql(f"UPDATE tksva_q.job SET {why}")
    assert claim_more(own, worker) == []
    assert sql("SELECT id, state, attempt FROM tksva_q.job") == [(job, "waiting", 0)]


def test_a_row_of_the_web_ui_is_in_no_batch(own: Database, worker: str, sql: Queries) -> None:
    post = sql.post("a.csv")
    submit(own, "brief")
    sql("UPDATE tksva_q.job SET post_id = %s, user_id = 1", post)
    assert claim_more(own, worker) == []


def test_what_others_are_claiming_is_left_to_them_and_keeps_its_place(
    own: Database, worker: str, sql: Queries, database: str
) -> None:
    first, long, second = submit(own, "brief", "long", "brief")
    with server_cursor(database) as theirs:
        theirs.connection.autocommit = False
        theirs.execute("SELECT FROM tksva_q.job WHERE id IN (%s, %s) FOR UPDATE", (first, long))
        assert claim_more(own, worker) == []  # the long one, though locked, comes before the second
        theirs.execute("UPDATE tksva_q.job SET held = true WHERE id = %s", (long,))
        theirs.connection.commit()
    assert [job.id for job in claim_more(own, worker)] == [first, second]


# --- settling ---------------------------------------------------------------------------------------------------------


def test_all_of_a_batch_are_done_with_their_journal(own: Database, worker: str, sql: Queries) -> None:
    submit(own, "brief", "brief", "brief")
    batch = claim_more(own, worker)
    with own.transaction() as cursor:
        brief.settle_done(cursor, batch)
        brief.settle_done(cursor, [])
    assert sql("SELECT DISTINCT state, worker, slot, finished_at IS NOT NULL FROM tksva_q.job") == [
        ("done", None, None, True)
    ]
    assert sql("SELECT outcome, finished_at IS NOT NULL FROM tksva_q.attempt") == [("done", True)] * 3


@pytest.mark.parametrize(
    "change", ["attempt = attempt + 1", "worker = gen_random_uuid()", "state = 'waiting', worker = NULL, slot = NULL"]
)
def test_a_batch_with_a_job_of_somebody_elses_is_not_settled(
    own: Database, worker: str, sql: Queries, change: str
) -> None:
    submit(own, "brief", "brief")
    batch = claim_more(own, worker)
    sql("ALTER TABLE tksva_q.job DISABLE TRIGGER USER")
    sql(f"UPDATE tksva_q.job SET {change} WHERE id = %s", batch[1].id)
    with pytest.raises(LostJob), own.transaction() as cursor:
        brief.settle_done(cursor, batch)
    assert sql("SELECT count(*) FROM tksva_q.job WHERE state = 'done'") == [(0,)]


def test_a_processing_that_reads_the_warehouse_cannot_be_brief() -> None:
    with pytest.raises(ValueError, match="cannot be brief"):
        processing("hasty", reads=TABLE, brief=True)
    assert "hasty" not in REGISTER


# --- the child --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The brief jobs that were run, in their order; what they do is told by their file's name."""
    done: list[int] = []

    def run(task: Task) -> None:
        done.append(task.job.id)
        if task.job.file_name == "wrong":
            raise UserError("так нельзя")
        if task.job.file_name == "slow":
            time.sleep(2 * brief.BATCH_SECONDS)
        if task.job.file_name == "lost":
            with task.database.statement() as cursor:
                cursor.execute("UPDATE tksva_q.job SET attempt = attempt + 1 WHERE id = %s", (task.job.id,))

    monkeypatch.setitem(REGISTER, "brief", Processing("brief", run, brief=True))
    assert "brief" in processings.brief_ones()
    return done


def test_a_child_runs_batch_after_batch_in_the_order_of_the_queue(parent: Parent, sql: Queries, ran: list[int]) -> None:
    ids = [parent.submit("brief") for _ in range(50)]
    parent.give()
    assert parent.until_idle() == (ids, child.Idle(retiring=False, lost=False))
    assert ran == ids
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("done",)]
    # The first was given by the parent; the others were claimed in batches, each in one transaction.
    assert sql("SELECT count(*) FROM tksva_q.job GROUP BY started_at ORDER BY started_at") == [(1,), (20,), (20,), (9,)]


@pytest.mark.parametrize("column", ["post", "table"])
def test_what_comes_first_and_tells_others_of_its_end_is_no_head_of_a_batch(
    parent: Parent, sql: Queries, ran: list[int], column: str
) -> None:
    first, head, *rest = [parent.submit("brief") for _ in range(4)]
    post = sql.post("a.csv")
    if column == "post":
        sql("UPDATE tksva_q.job SET post_id = %s, user_id = 1 WHERE id = %s", post, head)
    else:
        sql("UPDATE tksva_q.job SET dwh_table = %s WHERE id = %s", TABLE, head)
    parent.give()
    assert parent.until_idle() == ([first, head, *rest], child.Idle(retiring=False, lost=False))
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("done",)]
    assert sql.status(post) == ("файл подготовлен" if column == "post" else "в очереди")
    assert not sql.value("SELECT gives_information FROM dwh_tables_info")
    assert ran == [first, head, *rest]


def test_a_job_of_a_batch_that_fails_fails_alone(parent: Parent, sql: Queries, ran: list[int]) -> None:
    parent.submit("brief")
    bad = [parent.submit("brief", file_name=name) for name in ("", "wrong", "")][1]
    parent.give()
    parent.until_idle()
    assert sql("SELECT id, error FROM tksva_q.job WHERE state <> 'done'") == [(bad, "так нельзя")]
    assert len(ran) == 4


def test_a_slow_job_does_not_keep_what_was_claimed_with_it(parent: Parent, sql: Queries, ran: list[int]) -> None:
    ids = [parent.submit("brief", file_name=name) for name in ("", "", "slow", "", "")]
    parent.give()
    assert parent.until_idle()[0] == ids
    assert ran == ids
    assert sql("SELECT state, spent, attempt FROM tksva_q.job ORDER BY id") == [
        *[("done", 1, 1)] * 3,
        *[("done", 1, 2)] * 2,
    ]
    assert sql("SELECT DISTINCT reason FROM tksva_q.attempt WHERE outcome = 'given back'") == [
        ("its batch had no time for it",)
    ]


def test_a_batch_with_a_lost_job_is_left_to_the_parent(parent: Parent, sql: Queries, ran: list[int]) -> None:
    for name in ("", "", "lost", ""):
        parent.submit("brief", file_name=name)
    parent.give()
    assert parent.until_idle()[1] == child.Idle(retiring=False, lost=True)
    assert sql("SELECT state FROM tksva_q.job ORDER BY id") == [("done",), *[("running",)] * 3]
    assert len(ran) == 4


# --- a daemon ---------------------------------------------------------------------------------------------------------


def test_a_child_that_dies_at_one_of_a_batch_costs_the_others_nothing(
    start_daemon: Start, own: Database, sql: Queries
) -> None:
    daemon: Daemon = start_daemon(integrations="testing", max_attempts=2)
    before, deadly, after = submit(own, "brief", "brief_patient", "brief")
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job WHERE id = %s", deadly) == "running")
    wait_for(lambda: sql.value("SELECT to_regclass('brief_patient') IS NOT NULL"))
    children_of(daemon)[0].kill()
    wait_for(lambda: sql("SELECT state FROM tksva_q.job WHERE id IN (%s, %s)", before, after) == [("done",)] * 2)
    assert sql("SELECT spent FROM tksva_q.job WHERE id IN (%s, %s)", before, after) == [(1,), (1,)]
    assert "killed by signal 9" in sql.value("SELECT error FROM tksva_q.job WHERE id = %s", deadly)
    assert sql.value("SELECT spent FROM tksva_q.job WHERE id = %s", deadly) == 1
