"""A real daemon, a real page and the store between them: from the row to the download, through kills and outages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import logs
import manage
from tests.command_line import set_environment
from tests.daemons import Daemon, environment
from tests.database import Queries
from tests.store.server import KEY, SECRET, Bucket, S3Server
from tests.waiting import wait_for
from tests.web.server import Web, new_job

Start = Callable[..., Daemon]
NAMES = ["отчёт (1) [май].csv", "отчёт (1) [май].xlsx"]


@pytest.fixture
def web(database: str, tmp_path: Path, bucket: Bucket) -> Iterator[Web]:
    process = Web(database, tmp_path, **bucket.settings)
    process.await_answer()
    yield process
    process.stop()


def local(start_daemon: Start, sql: Queries) -> list[bytes]:
    """What the files hold when they stay in FILES_DIR; the daemon that made them is gone."""
    daemon = start_daemon()
    for name in NAMES:
        sql.await_status(sql.post(name), "файл подготовлен")
    made = [daemon.file(name) for name in NAMES]
    contents = [path.read_bytes() for path in made]
    daemon.kill()
    for path in made:
        path.unlink()
    sql("DELETE FROM tksva_q.job")
    sql("DELETE FROM post")
    return contents


def exported(sql: Queries) -> int:
    """How many pages were read from the warehouse."""
    return int(sql.value("SELECT count(*) FROM tksva_q.page"))


def test_files_in_the_bucket_are_those_of_the_folder_to_the_byte(
    start_daemon: Start, sql: Queries, bucket: Bucket
) -> None:
    contents = local(start_daemon, sql)
    daemon = start_daemon(**bucket.settings)
    for name in NAMES:
        sql.await_status(sql.post(name), "файл подготовлен")
    assert [bucket.read(name) for name in NAMES] == contents
    assert [path for path in daemon.files.rglob("*") if path.is_file()] == []
    sql("UPDATE post SET task_status_timestamp = '2020-01-01'")
    daemon.await_line(r"file_purged .*bytes=\d+ *$")
    wait_for(lambda: bucket.keys() == [])
    assert daemon.stop() == 0
    assert SECRET not in daemon.log
    assert "Unclosed" not in daemon.log


@pytest.mark.parametrize("kind", ["UploadPart", "CompleteMultipartUpload"])
def test_a_daemon_killed_in_the_middle_of_an_upload_leaves_nothing_and_its_successor_finishes(
    start_daemon: Start, sql: Queries, bucket: Bucket, server: S3Server, kind: str
) -> None:
    """The killed one's request is still on its way when the successor has begun."""
    daemon = start_daemon(**bucket.settings)
    post = sql.post(NAMES[0])
    with server.held(kind) as came:
        assert came.wait(30)
        pages = exported(sql)
        daemon.kill()
        assert bucket.keys() == []
        bucket.server.requests.clear()
        start_daemon(**bucket.settings)
        wait_for(lambda: kind in bucket.server.requests)
        assert bucket.keys() == []
    sql.await_status(post, "файл подготовлен")
    assert bucket.read(NAMES[0]).count(b"\n") == 1001
    assert (exported(sql), bucket.uploads()) == (pages, [])


def test_a_store_that_is_away_when_a_file_is_ready_gets_it_when_it_is_back(
    start_daemon: Start, sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    daemon = start_daemon(**bucket.settings)
    server.stop()
    try:
        post = sql.post(NAMES[0])
        daemon.await_line(r"job_given_back .*не отвечает")
        pages = exported(sql)
        sql("UPDATE tksva_q.job SET run_at = now()")
        wait_for(lambda: sql("SELECT state, attempt, spent FROM tksva_q.job") == [("waiting", 2, 0)])
        assert sql.status(post) == "в очереди"
    finally:
        server.start()
    sql("UPDATE tksva_q.job SET run_at = now() WHERE state = 'waiting'")
    sql("NOTIFY tksva_q")
    sql.await_status(post, "файл подготовлен")
    assert exported(sql) == pages
    assert bucket.read(NAMES[0]).count(b"\n") == 1001


def test_a_purge_that_finds_the_store_away_is_done_when_it_is_back(
    start_daemon: Start, sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    daemon = start_daemon(**bucket.settings, poll_seconds=0.1)
    post = sql.post("a.csv")
    sql.await_status(post, "файл подготовлен")
    server.stop()
    try:
        sql("UPDATE post SET task_status_timestamp = '2020-01-01'")
        daemon.await_line("ERROR store_away .*не отвечает")
        began = time.monotonic()
        other = sql.post("b.csv")  # the loop goes on all the while
        rows = "SELECT count(*) FROM tksva_q.job WHERE post_id = %s AND rows = 1000"
        wait_for(lambda: sql.value(rows, other))
        assert time.monotonic() - began < 15
        assert sql.status(post) == "файл подготовлен"
    finally:
        server.start()
    daemon.await_line("store_back")
    sql.await_status(post, "скрыта менеджером очереди")
    assert "1/a.csv" not in bucket.keys()


def test_wrong_keys_are_told_clearly_and_nowhere_shown(start_daemon: Start, sql: Queries, bucket: Bucket) -> None:
    wrong = bucket.settings | {"aws_access_key_id": "AKIANOBODY", "aws_secret_access_key": "hunter3hunter3"}
    daemon = start_daemon(**wrong, max_attempts=1, log_level="DEBUG")
    daemon.await_line("ERROR uploads_not_swept .*ключ неизвестен: исправьте AWS_ACCESS_KEY_ID")
    sql.await_status(sql.post("a.csv"), "ошибка")
    assert "исправьте AWS_ACCESS_KEY_ID" in sql.value("SELECT error FROM tksva_q.job")
    daemon.stop()
    assert not {"AKIANOBODY", "hunter3hunter3"} & set(daemon.log.replace("=", " ").replace('"', " ").split())
    assert "hunter3" not in daemon.log


def test_the_page_gives_the_object_whole_and_in_ranges(
    web: Web, start_daemon: Start, sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    start_daemon(**bucket.settings)
    with web.client() as client:
        job = client.post("/api/jobs", json=new_job(file_name=NAMES[0])).json()["id"]
        wait_for(lambda: client.get(f"/api/jobs/{job}").json()["state"] == "done")
        path, content = f"/api/jobs/{job}/file", bucket.read(NAMES[0])
        whole = client.get(path)
        assert (whole.status_code, whole.content) == (200, content)
        assert whole.headers["content-type"] == "text/csv; charset=utf-8"
        assert "filename*=UTF-8''%D0%BE%D1%82" in whole.headers["content-disposition"]
        assert whole.headers["accept-ranges"] == "bytes"

        def ranged(wanted: str, **more: str) -> tuple[int, bytes, str | None]:
            answer = client.get(path, headers={"Range": wanted} | more)
            return answer.status_code, answer.content, answer.headers.get("content-range")

        size = len(content)
        assert ranged("bytes=10-29") == (206, content[10:30], f"bytes 10-29/{size}")
        assert ranged("bytes=10-") == (206, content[10:], f"bytes 10-{size - 1}/{size}")
        assert ranged(f"bytes=10-{size + 9}") == (206, content[10:], f"bytes 10-{size - 1}/{size}")
        assert ranged("bytes=-5") == (206, content[-5:], f"bytes {size - 5}-{size - 1}/{size}")
        assert ranged("bytes=0-0", **{"If-Range": whole.headers["etag"]})[:2] == (206, content[:1])
        assert ranged("bytes=0-0", **{"If-Range": whole.headers["last-modified"]})[0] == 206
        assert ranged("bytes=0-0", **{"If-Range": '"another"'}) == (200, content, None)
        for odd in ("bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=9-3"):
            assert ranged(odd) == (200, content, None)
        assert ranged(f"bytes={size}-")[0] == 416
        assert ranged("bytes=-0")[0] == 416

        with server.answering("HeadObject", 503, "SlowDown"):
            away = client.get(path)
        assert (away.status_code, away.json()["detail"]) == (503, "хранилище файлов не отвечает")
        bucket.client.delete_object(Bucket=bucket.name, Key=f"готовые файлы/1/{NAMES[0]}")
        assert client.get(path).status_code == 410


def test_the_page_still_gives_a_file_from_the_time_before_the_store(
    web: Web, sql: Queries, tmp_path: Path, bucket: Bucket, server: S3Server
) -> None:
    sql("INSERT INTO tksva_q.job (user_id, file_name, state, finished_at) VALUES (1, 'a.csv', 'done', now())")
    path = f"/api/jobs/{sql.value('SELECT id FROM tksva_q.job')}/file"
    (tmp_path / "files" / "1").mkdir(parents=True)
    (tmp_path / "files" / "1" / "a.csv").write_bytes(b"12345")
    with web.client() as client:
        assert client.get(path).content == b"12345"
        bucket.put("a.csv", b"123456")
        assert client.get(path).content == b"123456"
        # Where the store breaks off, the page does: half a file must not look like a whole one.
        with server.answering("GetObject", 500, "InternalError"), pytest.raises(httpx.RemoteProtocolError):
            client.get(path)
    wait_for(lambda: any("download_broken_off" in line for line in web.lines))
    assert not any("Traceback" in line for line in web.lines)


# --- the administrator ------------------------------------------------------------------------------------------------


@pytest.fixture
def command(
    database: str, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a word of the command line with FILES_URL set; return what it printed."""
    monkeypatch.setattr(logs, "_secrets", logs.Secrets())

    def run(*words: str, **changed: object) -> str:
        set_environment(monkeypatch, environment(database, tmp_path, **(bucket.settings | changed)))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["manage.py", *words])
        with pytest.raises(SystemExit):
            manage.main()
        return capsys.readouterr().out

    return run


def test_the_doctor_tries_the_bucket_and_says_what_to_do(command: Callable[..., str], bucket: Bucket) -> None:
    url = f"s3://{bucket.name}/готовые файлы"
    assert f"{url}: пишется, читается, удаляется" in command("doctor")
    said = command("doctor", aws_access_key_id="AKIANOBODY")
    assert "исправьте AWS_ACCESS_KEY_ID" in said
    assert "нет такого бакета" in command("doctor", files_url="s3://no-such-bucket")
    assert "не отвечает" in command("doctor", aws_endpoint_url="http://127.0.0.1:1")
    assert "бакет" not in command("doctor", files_url="")
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_purge_by_hand_names_the_objects(
    command: Callable[..., str], sql: Queries, bucket: Bucket, server: S3Server
) -> None:
    post = sql.post("a.csv")
    sql("UPDATE post SET task_status = 'файл подготовлен', task_status_timestamp = '2020-01-01'")
    bucket.put("a.csv", b"12345")
    with server.answering("DeleteObject", 403, "AccessDenied"):
        assert "политику бакета" in command("purge")
    assert sql.status(post) == "файл подготовлен"
    assert f"s3://{bucket.name}/готовые файлы/1/a.csv: 5\nудалено файлов: 1\n" in command("purge")
    assert KEY not in command("purge")
