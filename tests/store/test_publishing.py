"""A complete part file becomes an object once, whatever dies on the way; or it stays a part file."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import pytest

import attempts
import jobs
from errors import Cancelled, Interrupted, StorageError, StoreAway, StoreRefused
from exports import export
from object_store import PIECE, ObjectStore, Stamp
from partfile import PartFile
from progress import Progress
from publishing import publisher
from storage import user_folder
from tasks import Task
from tests.database import TABLE, Queries
from tests.exporting import EXTRACT, PAGE, Bench
from tests.store.server import Bucket, S3Server
from tests.store.uploading import NAME, counting, run, whole

__all__ = ["whole"]  # fixtures


# --- undisturbed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, "отчёт.xlsx"])
def test_an_object_has_the_bytes_that_the_file_has_and_no_part_is_left(bench: Bench, bucket: Bucket, name: str) -> None:
    stored = bench.settings
    bench.settings = stored.model_copy(update={"files_url": None})
    content = bench.whole(name)
    bench.settings = stored
    bench.submit(name)
    run(bench, bench.claim())
    assert bucket.keys() == [f"1/{name}"]
    assert bucket.read(name) == content
    assert [path for path in bench.settings.files_dir.rglob("*") if path.is_file()] == []
    assert bucket.uploads() == []


def test_a_large_file_goes_up_in_pieces_and_says_so_with_each(bench: Bench, bucket: Bucket, store: ObjectStore) -> None:
    bench.submit("a.csv")
    job = bench.claim()
    content = os.urandom(2 * PIECE + 5)
    recorded: list[dict[str, Any]] = []
    with user_folder(bench.settings.files_dir, 1) as folder:
        part = PartFile.create(folder, job.id, job.attempt)
        part.write(content)
        publisher(bench.task(job), folder, "a.csv").publish(part, recorded.append)
        part.close()
    assert bucket.read("a.csv") == content
    assert bucket.server.requests.count("UploadPart") == 3
    assert len(recorded) == 3
    assert len({one["upload"] for one in recorded}) == 1
    found = store.find(store.key(1, "a.csv"))
    assert found is not None
    assert found.stamp == Stamp(job.id, job.attempt, part.crc)


def test_an_empty_file_is_an_object_too(bench: Bench, bucket: Bucket) -> None:
    bench.submit("a.csv")
    job = bench.claim()
    with user_folder(bench.settings.files_dir, 1) as folder:
        part = PartFile.create(folder, job.id, job.attempt)
        publisher(bench.task(job), folder, "a.csv").publish(part, lambda more: None)
    assert bucket.read("a.csv") == b""


def test_an_older_object_of_the_same_name_is_replaced_in_one_step(bench: Bench, bucket: Bucket, whole: bytes) -> None:
    bucket.put(NAME, b"older")
    bench.submit(NAME)
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 2), EXTRACT)
    assert bucket.read(NAME) == b"older"
    bench.give_back(job)
    run(bench, bench.claim())
    assert bucket.read(NAME) == whole


# --- interrupted ------------------------------------------------------------------------------------------------------


def settle(bench: Bench, job: jobs.Job, error: Exception) -> jobs.Settlement:
    """End an attempt as the child does, and let its pause pass."""
    end = attempts.after_error(job, error, 5, PAGE)
    assert end is not None
    with bench.database.transaction() as cursor:
        jobs.settle(cursor, job.fence, TABLE, dataclasses.replace(end, delay=0))
    return end


def test_a_store_that_is_away_costs_no_attempt_and_no_second_export(
    bench: Bench, bucket: Bucket, server: S3Server, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit(NAME)
    server.stop()
    pauses = []
    try:
        for _ in range(3):
            job = bench.claim()
            with pytest.raises(StoreAway) as caught:
                run(bench, job)
            end = settle(bench, job, caught.value)
            assert (end.state, end.refund, end.restart) == ("waiting", True, False)
            pauses.append(end.delay)
            asked = counting(bench, monkeypatch)
    finally:
        server.start()
    assert pauses[0] < pauses[1] < pauses[2]
    assert bucket.keys() == []
    last = bench.claim()
    assert last.spent == 1
    run(bench, last)
    assert asked == []
    assert bucket.read(NAME) == whole


def test_the_pause_of_a_job_that_waits_for_the_store_has_an_end(bench: Bench) -> None:
    bench.submit(NAME)
    job = dataclasses.replace(bench.claim(), attempt=50)
    end = attempts.after_error(job, StoreAway("away"), 5, PAGE)
    assert end is not None
    assert end.delay <= attempts.STORE_PAUSE_LIMIT


def test_a_store_that_refuses_costs_attempts_but_no_second_export(
    bench: Bench, bucket: Bucket, server: S3Server, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit(NAME)
    job = bench.claim()
    with server.answering("CreateMultipartUpload", 403, "AccessDenied"), pytest.raises(StoreRefused) as caught:
        run(bench, job)
    end = settle(bench, job, caught.value)
    assert (end.state, end.refund, end.restart) == ("waiting", False, False)
    asked = counting(bench, monkeypatch)
    run(bench, bench.claim())
    assert asked == []
    assert bucket.read(NAME) == whole


@pytest.mark.parametrize("kind", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_fails_is_taken_away(bench: Bench, bucket: Bucket, server: S3Server, kind: str) -> None:
    bench.submit(NAME)
    with server.answering(kind, 500, "InternalError"), pytest.raises(StoreAway):
        run(bench, bench.claim())
    assert (bucket.keys(), bucket.uploads()) == ([], [])
    assert len(bench.left_over()) == 1


def test_an_answer_that_was_lost_on_its_way_is_asked_for_again(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ObjectStore.complete

    def lost(*words: Any) -> None:
        complete(*words)
        raise StoreAway("the answer never came")

    monkeypatch.setattr(ObjectStore, "complete", lost)
    bench.submit(NAME)
    run(bench, bench.claim())
    assert bucket.read(NAME) == whole


class Killed(BaseException):
    """A process that is gone."""


def dying_after(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let whoever has made this step of a publication die there: it tidies nothing up."""
    original = getattr(ObjectStore, step)

    def killed(*words: Any) -> None:
        original(*words)
        monkeypatch.setattr(ObjectStore, "abort", lambda *words: None)
        raise Killed

    monkeypatch.setattr(ObjectStore, step, killed)


@pytest.mark.parametrize("step", ["begin", "send", "complete"])
def test_a_worker_that_dies_while_it_publishes_leaves_it_to_its_successor(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bench.submit(NAME)
    job = bench.claim()
    with monkeypatch.context() as patch:
        dying_after(patch, step)
        with pytest.raises(Killed):
            run(bench, job)
    assert bucket.keys() == ([f"1/{NAME}"] if step == "complete" else [])
    bench.give_back(job)
    asked = counting(bench, monkeypatch)
    bucket.server.requests.clear()
    run(bench, bench.claim())
    assert asked == []
    assert bucket.read(NAME) == whole
    assert ("CompleteMultipartUpload" in bucket.server.requests) == (step != "complete")
    assert bench.left_over() == []
    assert bucket.uploads() == []


def test_an_object_that_is_not_the_recorded_one_is_not_taken_for_it(bench: Bench, bucket: Bucket, whole: bytes) -> None:
    bench.submit(NAME)
    job = bench.claim()
    run(bench, job)
    bucket.put(NAME, whole)  # of the same bytes, but nobody knows whose
    bench.give_back(job)
    run(bench, bench.claim())
    head = bucket.client.head_object(Bucket=bucket.name, Key=f"готовые файлы/1/{NAME}")
    assert head["Metadata"]["tksva-job"] == str(job.id)


def test_bytes_that_the_disk_has_changed_are_not_published(bench: Bench, bucket: Bucket) -> None:
    bench.submit(NAME)
    task = bench.task(bench.claim())

    def record(made: Progress) -> None:
        Task.record(task, made)
        if made.position["complete"] and "upload" not in made.position:
            part = next(bench.settings.files_dir.glob("*/.*"))
            part.write_bytes(b"?" + part.read_bytes()[1:])

    task.record = record  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="other bytes"):
        export(task, EXTRACT)
    assert (bucket.keys(), bucket.uploads(), bench.left_over()) == ([], [], [])


def test_a_worker_that_is_asked_to_stop_between_two_pieces_leaves_a_part_to_publish(
    bench: Bench, bucket: Bucket, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit(NAME)
    job = bench.claim()
    task = bench.task(job)
    task.stopping = lambda: "CreateMultipartUpload" in bucket.server.requests
    with pytest.raises(Interrupted):
        export(task, EXTRACT)
    assert (bucket.keys(), bucket.uploads()) == ([], [])
    bench.give_back(job)
    asked = counting(bench, monkeypatch)
    run(bench, bench.claim())
    assert asked == []
    assert bucket.read(NAME) == whole


def test_a_row_that_is_hidden_during_the_upload_is_not_published(bench: Bench, bucket: Bucket, sql: Queries) -> None:
    post = sql.post(NAME)
    sql("INSERT INTO tksva_q.job (post_id, user_id, file_name, dwh_table) VALUES (%s, 1, %s, %s)", post, NAME, TABLE)
    task = bench.task(bench.claim())

    def record(made: Progress) -> None:
        if "upload" in made.position:
            sql("UPDATE post SET task_status = 'скрыта пользователем'")
        Task.record(task, made)

    task.record = record  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        export(task, EXTRACT)
    assert (bucket.keys(), bucket.uploads(), bench.left_over()) == ([], [], [])
