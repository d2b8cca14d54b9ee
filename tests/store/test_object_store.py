"""The store: whole objects or none, whatever their names; what it refuses and when it is away is told in a line."""

from __future__ import annotations

import pytest

import logs
import object_store
from errors import StoreAway, StoreError, StoreRefused
from object_store import PIECE, ObjectStore, Stamp, open_store
from settings import Settings
from tests.store.server import SECRET, Bucket, S3Server

STAMP = Stamp(7, 2, 0xC0FFEE)


def put(store: ObjectStore, key: str, content: bytes) -> None:
    upload = store.begin(key, STAMP)
    store.complete(key, upload, [store.send(key, upload, 1, content)])


@pytest.mark.parametrize(
    "name",
    ["отчёт (1) [за] май.csv", "a+b & c%20d=?#.csv", "a.csv?versionId=1.csv", "*.csv", "№ «1»;'\"$.xlsx", "я" * 125],
)
def test_usual_names_are_keys_as_they_are(store: ObjectStore, bucket: Bucket, name: str) -> None:
    bucket.put("отчёт 1 май.csv", b"what a pattern would match")
    bucket.put("отчёт (1) з май.csv", b"what a pattern would match")
    others = set(bucket.keys())
    key = store.key(1, name)
    put(store, key, b"12345")
    assert set(bucket.keys()) - others == {f"1/{name}"}
    assert bucket.read(name) == b"12345"
    assert store.delete(key) == 5
    assert set(bucket.keys()) == others
    assert store.delete(key) is None


def test_an_object_is_there_when_all_of_it_is_and_not_before(store: ObjectStore, bucket: Bucket) -> None:
    key = store.key(1, "a.csv")
    upload = store.begin(key, STAMP)
    pieces = [store.send(key, upload, 1, b"a" * PIECE), store.send(key, upload, 2, b"tail")]
    assert (bucket.keys(), bucket.uploads()) == ([], [upload])
    assert [(one.key, one.id) for one in store.uploads()] == [(key, upload)]
    assert store.find(key) is None
    store.complete(key, upload, pieces)
    assert (bucket.keys(), bucket.uploads()) == (["1/a.csv"], [])
    found = store.find(key)
    assert found is not None
    assert (found.size, found.stamp) == (PIECE + 4, STAMP)
    assert b"".join(store.read(key, found.etag, PIECE - 2, PIECE + 3)) == b"aatai"
    assert list(store.read(key, found.etag, 3, 3)) == []


def test_an_upload_that_was_taken_away_completes_nothing(store: ObjectStore, bucket: Bucket) -> None:
    key = store.key(1, "a.csv")
    put(store, key, b"the successor's")
    upload = store.begin(key, STAMP)
    pieces = [store.send(key, upload, 1, b"the zombie's")]
    store.abort(key, upload)
    store.abort(key, upload)
    assert bucket.uploads() == []
    with pytest.raises(FileNotFoundError):
        store.complete(key, upload, pieces)
    assert bucket.read("a.csv") == b"the successor's"


def test_an_object_that_was_replaced_is_not_read_for_the_older_one(store: ObjectStore, bucket: Bucket) -> None:
    key = store.key(1, "a.csv")
    put(store, key, b"older")
    found = store.find(key)
    assert found is not None
    put(store, key, b"newer")
    with pytest.raises(FileNotFoundError):
        list(store.read(key, found.etag, 0, found.size))


def test_an_object_of_somebody_elses_has_no_stamp(store: ObjectStore, bucket: Bucket) -> None:
    bucket.put("a.csv", b"12345")
    found = store.find(store.key(1, "a.csv"))
    assert found is not None
    assert (found.size, found.stamp) == (5, None)


def test_a_browser_is_told_what_the_object_is(store: ObjectStore, bucket: Bucket) -> None:
    for name, kind in (
        ("a.CSV", "text/csv; charset=utf-8"),
        ("a.xlsx", "application/vnd.openxml"),
        ("a", "application/"),
    ):
        put(store, store.key(1, name), b"1")
        head = bucket.client.head_object(Bucket=bucket.name, Key=store.key(1, name))
        assert head["ContentType"].startswith(kind)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((403, "InvalidAccessKeyId"), StoreRefused, "исправьте AWS_ACCESS_KEY_ID"),
        ((403, "SignatureDoesNotMatch"), StoreRefused, "исправьте AWS_SECRET_ACCESS_KEY"),
        ((403, "AccessDenied"), StoreRefused, "политику бакета"),
        ((404, "NoSuchBucket"), StoreRefused, "нет такого бакета"),
        ((400, "SomethingNew"), StoreRefused, "отказано"),
        ((501, "NotImplemented"), StoreRefused, "так не умеет"),
        ((503, "SlowDown"), StoreAway, "не принимает запросов"),
        ((500, "InternalError"), StoreAway, "не принимает запросов"),
        ((502, "BadGateway"), StoreAway, "не принимает запросов"),
    ],
)
def test_what_a_store_answers_is_told_in_one_line(
    store: ObjectStore, server: S3Server, answer: tuple[int, str], kind: type[StoreError], said: str
) -> None:
    with server.answering("CreateMultipartUpload", *answer), pytest.raises(StoreError, match=said) as caught:
        store.begin("a.csv", STAMP)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_bucket_is_not_a_missing_object(settings: Settings) -> None:
    elsewhere = open_store(settings.model_copy(update={"files_url": "s3://no-such-bucket"}))
    assert elsewhere is not None
    with pytest.raises(StoreRefused, match="нет такого бакета"):
        elsewhere.delete("1/a.csv")


def test_a_store_that_is_away_or_silent_is_away(
    store: ObjectStore, server: S3Server, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    try:
        with pytest.raises(StoreAway, match="не отвечает"):
            store.find("a.csv")
    finally:
        server.start()
    assert store.find("a.csv") is None
    monkeypatch.setattr(object_store, "CALL_SECONDS", 0.5)
    with server.held("HeadObject"), pytest.raises(StoreAway, match="не отвечает"):
        store.find("a.csv")


def test_the_probe_leaves_nothing_behind(store: ObjectStore, bucket: Bucket, server: S3Server) -> None:
    assert store.probe()
    with server.answering("ListMultipartUploads", 403, "AccessDenied"):
        assert not store.probe()
    for kind in ("CompleteMultipartUpload", "GetObject", "AbortMultipartUpload", "DeleteObject"):
        with server.answering(kind, 403, "AccessDenied"), pytest.raises(StoreRefused):
            store.probe()
    for left in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", []):
        assert ".tksva_q-doctor-" in left["Key"]  # what may not be deleted
        store.delete(left["Key"])
    for upload in list(store.uploads()):
        store.abort(upload.key, upload.id)
    assert store.probe()
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_one_store_a_process_and_none_without_an_url(settings: Settings, store: ObjectStore) -> None:
    assert open_store(settings) is store
    assert open_store(settings.model_copy(update={"files_url": None})) is None


def test_the_keys_are_among_what_is_never_logged(settings: Settings) -> None:
    logs.hide_secrets(settings)
    assert SECRET not in logs.redact(f"Authorization: {SECRET}")
    assert SECRET not in repr(settings)
