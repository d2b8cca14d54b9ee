"""Objects go when nobody needs them any more, and none goes that somebody does; what a crash has left goes, too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import queueing
import retention
from db import Database
from errors import StoreAway
from janitor import SWEEP_SECONDS, sweep
from object_store import ObjectStore, Stamp
from retention import Purged
from settings import Settings
from tests.daemons import Daemon, make_settings
from tests.database import TABLE, Queries
from tests.exporting import Bench
from tests.store.server import Bucket, S3Server
from tests.store.uploading import NAME, run
from tests.waiting import wait_for

HOUR = 3600
PREPARED, PURGED = "файл подготовлен", "скрыта менеджером очереди"
#: Purges once.
Purge = Callable[[], list[Purged]]
#: Somebody waits for a file that somebody else has in hand.
WAITING = (
    "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
)
#: Seconds within which something comes at all.
LONG = 60


@pytest.fixture
def settings(database: str, tmp_path: Path, bucket: Bucket) -> Settings:
    return make_settings(database, tmp_path, **bucket.settings)


@pytest.fixture
def purge(own: Database, settings: Settings, store: ObjectStore) -> Purge:
    """Purge as the daemon's thread does."""
    return lambda: retention.purge(own, settings, store)


def prepared(sql: Queries, bucket: Bucket, name: str = NAME, age: float = 0, user: int = 1) -> int:
    """A row whose file was put into the bucket `age` seconds ago, and the file."""
    post = sql.post(name, user=user)
    change = "UPDATE post SET task_status = %s, task_status_timestamp = localtimestamp - make_interval(secs => %s)"
    sql(change + " WHERE id = %s", PREPARED, age, post)
    sql(
        "INSERT INTO tksva_q.job (post_id, user_id, file_name, state, finished_at) VALUES (%s, %s, %s, 'done', now())",
        *(post, user, name),
    )
    bucket.put(name, b"12345", user)
    return post


# --- purged -----------------------------------------------------------------------------------------------------------


def test_an_object_that_has_expired_goes_and_its_row_says_so(purge: Purge, sql: Queries, bucket: Bucket) -> None:
    old, young = prepared(sql, bucket, age=73 * HOUR), prepared(sql, bucket, "b.csv", age=71 * HOUR)
    prepared(sql, bucket, user=2)
    assert purge() == [Purged(old, None, 1, NAME, 5)]
    assert sorted(bucket.keys()) == ["1/b.csv", f"2/{NAME}"]
    assert (sql.status(old), sql.status(young)) == (PURGED, PREPARED)
    assert purge() == []


def test_the_loop_itself_waits_for_no_store(own: Database, sql: Queries, settings: Settings, bucket: Bucket) -> None:
    prepared(sql, bucket, age=73 * HOUR)
    bucket.server.requests.clear()
    assert retention.purge(own, settings) == []
    assert bucket.server.requests == []


def test_an_object_that_is_gone_already_is_no_error(
    purge: Purge, sql: Queries, store: ObjectStore, bucket: Bucket
) -> None:
    post = prepared(sql, bucket, age=73 * HOUR)
    store.delete(store.key(1, NAME))
    assert purge() == [Purged(post, None, 1, NAME, None)]
    assert sql.status(post) == PURGED


def test_an_object_that_several_rows_name_goes_with_the_last_of_them(
    purge: Purge, sql: Queries, bucket: Bucket
) -> None:
    old, living = prepared(sql, bucket, age=73 * HOUR), prepared(sql, bucket)
    assert purge() == [Purged(old, None, 1, NAME, None)]
    assert bucket.keys() == [f"1/{NAME}"]
    sql("UPDATE post SET task_status_timestamp = '2020-01-01' WHERE id = %s", living)
    assert purge() == [Purged(living, None, 1, NAME, 5)]
    assert bucket.keys() == []


def test_a_file_from_the_time_before_the_store_goes_from_its_folder(
    purge: Purge, sql: Queries, settings: Settings, store: ObjectStore, bucket: Bucket
) -> None:
    post = prepared(sql, bucket, age=73 * HOUR)
    store.delete(store.key(1, NAME))
    (settings.files_dir / "1").mkdir(parents=True)
    (settings.files_dir / "1" / NAME).write_bytes(b"1234")
    assert purge() == [Purged(post, None, 1, NAME, 4)]
    assert list((settings.files_dir / "1").iterdir()) == []


@pytest.mark.parametrize("name", ["../2/a.csv", ".hidden", "a/b.csv"])
def test_a_name_under_which_nothing_was_ever_put_deletes_nothing(
    purge: Purge, sql: Queries, bucket: Bucket, name: str
) -> None:
    prepared(sql, bucket, name, age=73 * HOUR)
    there = bucket.keys()
    bucket.server.requests.clear()
    assert [one.size for one in purge()] == [None]
    assert "DeleteObject" not in bucket.server.requests
    assert bucket.keys() == there


def test_a_store_that_is_away_leaves_the_rows_as_they_are(
    purge: Purge, sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    posts = [prepared(sql, bucket, f"{number}.csv", age=73 * HOUR) for number in range(3)]
    with server.answering("DeleteObject", 503, "SlowDown"), pytest.raises(StoreAway):
        purge()
    assert {sql.status(post) for post in posts} == {PREPARED}
    assert len(purge()) == 3
    assert bucket.keys() == []


def test_an_object_that_the_store_does_not_give_up_is_named_and_its_row_stays(
    purge: Purge, sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    post = prepared(sql, bucket, age=73 * HOUR)
    with server.answering("DeleteObject", 403, "AccessDenied"):
        (purged,) = purge()
    assert (purged.post_id, purged.size) == (post, None)
    assert purged.fault is not None
    assert "политику бакета" in purged.fault
    assert sql.status(post) == PREPARED


def test_a_row_that_comes_while_its_older_namesake_is_purged_gets_its_object(
    bench: Bench, sql: Queries, store: ObjectStore, bucket: Bucket, server: S3Server
) -> None:
    """The deletion is on its way when the new file is ready: it must not hit that one."""
    old = prepared(sql, bucket, age=73 * HOUR)
    purged: list[Purged] = []
    mine = Database(bench.conninfo, "purger")
    purger = threading.Thread(target=lambda: purged.extend(retention.purge(mine, bench.settings, store)))
    with server.held("DeleteObject") as came:
        purger.start()
        assert came.wait(20)
        bench.submit(NAME)
        exporter = threading.Thread(target=run, args=(bench, bench.claim()))
        exporter.start()
        wait_for(lambda: sql(WAITING), LONG)
    for thread in (purger, exporter):
        thread.join(20)
    mine.close()
    assert [one.post_id for one in purged] == [old]
    assert bucket.read(NAME) != b"12345"


def test_what_keeps_the_objects_from_being_purged_is_said_once_and_when_it_is_over(
    start_daemon: Callable[..., Daemon], sql: Queries, bucket: Bucket
) -> None:
    """The database answers all the while: nobody else would say it."""
    sql(
        "CREATE SEQUENCE tries;"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'нельзя'; END $$;"
        f"CREATE TRIGGER refuse BEFORE UPDATE ON post FOR EACH ROW WHEN (NEW.task_status = '{PURGED}')"
        " EXECUTE FUNCTION refuse()"
    )
    daemon = start_daemon(**bucket.settings, poll_seconds=0.1)
    post = prepared(sql, bucket, age=73 * HOUR)
    daemon.await_line("ERROR purge_failed .*нельзя", LONG)
    wait_for(lambda: sql.value("SELECT last_value FROM tries") > 2, LONG)
    sql("DROP TRIGGER refuse ON post")
    daemon.await_line("INFO purge_goes_on", LONG)
    sql.await_status(post, PURGED, LONG)
    daemon.stop()
    assert [word for word in ("purge_failed", "purge_goes_on") if daemon.log.count(word) != 1] == []
    assert "database_away" not in daemon.log


# --- swept ------------------------------------------------------------------------------------------------------------


def test_uploads_that_no_living_job_knows_are_taken_away(
    own: Database, sql: Queries, settings: Settings, store: ObjectStore, bucket: Bucket
) -> None:
    living, dead, unknown = (store.begin(store.key(1, NAME), Stamp(number, 1, 0)) for number in range(3))
    for state, upload in (("waiting", living), ("failed", dead)):
        sql(
            "INSERT INTO tksva_q.job (user_id, file_name, dwh_table, state, finished_at, cursor)"
            " VALUES (1, %s, %s, %s, CASE WHEN %s = 'failed' THEN now() END, json_build_object('upload', %s::text))",
            *(NAME, TABLE, state, state, upload),
        )
    assert set(bucket.uploads()) == {living, dead, unknown}
    assert sweep(own, settings, store) == 2
    assert bucket.uploads() == [living]
    assert sweep(own, settings, store) == 0


def test_an_upload_that_has_just_begun_is_left_alone(
    own: Database, settings: Settings, store: ObjectStore, bucket: Bucket
) -> None:
    """Its job may be about to record it. The server dates every upload to 2010."""
    store.begin(store.key(1, NAME), Stamp(1, 1, 0))
    assert sweep(own, settings, store, 50 * 366 * 24 * HOUR) == 0
    assert sweep(own, settings, store, SWEEP_SECONDS) == 1


def test_uploads_of_others_in_the_same_bucket_are_left_alone(
    own: Database, settings: Settings, store: ObjectStore, bucket: Bucket
) -> None:
    store.begin("чужое/1/a.csv", Stamp(1, 1, 0))
    assert sweep(own, settings, store) == 0
    assert len(bucket.uploads()) == 1


def test_part_files_of_jobs_that_went_on_elsewhere_are_swept_from_this_machine(
    own: Database, settings: Settings, store: ObjectStore
) -> None:
    folder = settings.files_dir / "1"
    folder.mkdir(parents=True)
    with own.transaction() as cursor:
        waiting = queueing.submit(cursor, "test", {}, user_id=1, file_name=NAME)
        cursor.execute("UPDATE tksva_q.job SET attempt = 1")
    for job in (waiting, waiting + 1):
        (folder / f".tksva_q-{job}-1.part").touch()
    sweep(own, settings, store)
    assert [path.name for path in folder.iterdir()] == [f".tksva_q-{waiting}-1.part"]
