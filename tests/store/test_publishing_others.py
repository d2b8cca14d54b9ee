"""Who else has to do with the object: another machine, a zombie that wakes up, another job, a purge."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import jobs
import queueing
import retention
from db import CALL_SECONDS, Database, DatabaseAway
from errors import Interrupted, LostJob, StoreAway
from exports import export
from object_store import ObjectStore, Stamp
from tests.database import TABLE, Queries
from tests.exporting import EXTRACT, Bench
from tests.store.server import Bucket, S3Server
from tests.store.uploading import NAME, counting, run, whole
from tests.waiting import wait_for

__all__ = ["whole"]  # fixtures


@pytest.mark.parametrize("complete", [False, True])
def test_another_machine_that_has_no_part_of_it_begins_at_row_one(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch, complete: bool
) -> None:
    bench.submit(NAME)
    job = bench.claim()
    task = bench.task(job, None if complete else 2)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "begin", _away)
        with pytest.raises(StoreAway if complete else Interrupted):
            export(task, EXTRACT)
    bench.give_back(job)
    asked = counting(bench, monkeypatch)
    elsewhere = bench.settings.model_copy(update={"files_dir": bench.folder / "another machine"})
    export(bench.task(bench.claim(), settings=elsewhere), EXTRACT)
    assert len(asked) == 4
    assert bucket.read(NAME) == whole


def _away(*_words: object) -> str:
    raise StoreAway("away")


def take_over(bench: Bench, zombie: jobs.Job) -> None:
    """Let another worker's attempt finish the job of a frozen one."""
    bench.give_back(zombie)
    job = bench.claim()
    run(bench, job)
    bench.finish(job)


@pytest.mark.parametrize("step", ["begin", "send", "is_owned"])
def test_a_zombie_that_wakes_up_while_it_publishes_leaves_the_successors_object_alone(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The last of the steps is the look right before the object is made."""
    bench.submit(NAME)
    zombie = bench.claim()
    owner: Any = jobs if step == "is_owned" else ObjectStore
    original: Callable[..., Any] = getattr(owner, step)
    etags: list[str] = []

    def frozen(*words: Any) -> Any:
        result = original(*words)
        if not etags:
            etags.append("")
            if step == "is_owned":  # the server ends a transaction whose client stands still, and with it the lock
                bench.database.close()
            take_over(bench, zombie)
            etags[0] = bucket.client.head_object(Bucket=bucket.name, Key=f"готовые файлы/1/{NAME}")["ETag"]
        return result

    monkeypatch.setattr(owner, step, frozen)
    with pytest.raises((LostJob, StoreAway, DatabaseAway)):
        run(bench, zombie)
    assert bucket.client.head_object(Bucket=bucket.name, Key=f"готовые файлы/1/{NAME}")["ETag"] == etags[0]
    assert bucket.read(NAME) == whole
    assert (bucket.uploads(), bench.left_over()) == ([], [])
    with bench.database.statement() as cursor:
        cursor.execute("SELECT state, attempt FROM tksva_q.job WHERE id = %s", (zombie.id,))
        assert cursor.fetchall() == [("done", 2)]


def test_a_zombie_has_nothing_to_complete_even_when_its_job_has_failed_and_was_retried(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit(NAME)
    zombie = bench.claim()
    is_owned = jobs.is_owned

    def frozen(*words: Any) -> bool:
        owned: bool = is_owned(*words)
        monkeypatch.undo()
        bench.database.close()
        with bench.database.transaction() as cursor:
            jobs.settle(cursor, zombie.fence, TABLE, jobs.Settlement("failed", "failed", "the worker died"))
            assert queueing.retry(cursor, zombie.id) == [zombie.id]
        job = bench.claim()
        assert job.cursor is None
        run(bench, job)
        bench.finish(job)
        bucket.put(NAME, b"the successor's")
        return owned

    monkeypatch.setattr(jobs, "is_owned", frozen)
    with pytest.raises((StoreAway, DatabaseAway)):
        run(bench, zombie)
    assert bucket.read(NAME) == b"the successor's"
    assert bucket.uploads() == []


def test_the_upload_of_another_job_that_makes_a_file_of_this_name_goes_on(
    bench: Bench, bucket: Bucket, store: ObjectStore, sql: Queries
) -> None:
    upload = store.begin(store.key(1, NAME), Stamp(0, 1, 0))
    bench.submit(NAME)
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 0), EXTRACT)
    sql(
        "INSERT INTO tksva_q.job (user_id, file_name, run_at, cursor)"
        " VALUES (1, %s, now() + interval '1 day', json_build_object('upload', %s::text))",
        *(NAME, upload),
    )
    bench.give_back(job)
    run(bench, bench.claim())
    assert bucket.uploads() == [upload]


def test_a_key_that_may_not_list_uploads_publishes_all_the_same(
    bench: Bench, bucket: Bucket, server: S3Server, whole: bytes
) -> None:
    bench.submit(NAME)
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 1), EXTRACT)
    bench.give_back(job)
    with server.answering("ListMultipartUploads", 403, "AccessDenied"):
        run(bench, bench.claim())
    assert bucket.read(NAME) == whole


def test_a_purge_of_the_same_name_waits_until_the_object_is_made(
    bench: Bench, bucket: Bucket, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ObjectStore.complete
    free: list[bool] = []

    def watched(*words: Any) -> None:
        free.append(sql.value("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 1))", NAME))
        complete(*words)

    monkeypatch.setattr(ObjectStore, "complete", watched)
    bench.submit(NAME)
    run(bench, bench.claim())
    assert free == [False]


def test_a_purge_of_the_same_name_is_waited_for_as_long_as_it_may_take(
    bench: Bench, bucket: Bucket, sql: Queries, whole: bytes
) -> None:
    """Longer than the queue waits for any other lock."""
    bench.submit(NAME)
    exporter = threading.Thread(target=run, args=(bench, bench.claim()))
    purger = Database(bench.conninfo, "purger")
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'"
        " AND datname = current_database() AND query_start < clock_timestamp() - make_interval(secs => %s)"
    )
    with purger.transaction(60) as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        cursor.execute(retention.ONE_AT_A_TIME, {"user": 1, "name": NAME})
        exporter.start()
        wait_for(lambda: sql(waiting, CALL_SECONDS - 1), 60)
    exporter.join(60)
    purger.close()
    assert bucket.read(NAME) == whole
