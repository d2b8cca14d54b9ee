"""Files go when nobody needs them any more; what is not there, or not what it seems, is no obstacle."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import jobs
import leases
import queueing
import retention
from db import Database
from inbox import Inbox
from retention import Purged
from settings import Settings
from tests.daemons import make_settings
from tests.database import Queries
from tests.plans import history, whole_reads
from tests.purging import (
    CLICKED,
    HIDDEN,
    HOUR,
    PREPARED,
    PURGED,
    files,
    let_grace_pass,
    prepared,
    set_status,
    settings,
)

__all__ = ["files", "settings"]  # fixtures


# --- expired ----------------------------------------------------------------------------------------------------------


def test_a_file_is_kept_for_as_long_as_it_is_to_be_kept(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    young, old = prepared(sql, files, "a.csv", age=71.9 * HOUR), prepared(sql, files, "b.csv", age=72.1 * HOUR)
    sql("UPDATE post SET timestamp = timestamp '2020-01-01'")  # what counts is when it was prepared
    assert retention.purge(own, settings) == [Purged(old, None, 1, "b.csv", 5)]
    assert [path.name for path in (files / "1").iterdir()] == ["a.csv"]
    assert (sql.status(young), sql.status(old)) == (PREPARED, PURGED)
    assert sql("SELECT post_id FROM tksva_q.job WHERE purged_at IS NOT NULL") == [(old,)]
    assert retention.purge(own, settings) == []


def test_a_purged_row_says_when(own: Database, sql: Queries, settings: Settings, files: Path) -> None:
    prepared(sql, files, age=73 * HOUR)
    retention.purge(own, settings)
    assert sql.value("SELECT localtimestamp - task_status_timestamp < interval '10 seconds' FROM post")


def test_rows_that_have_no_file_never_expire(own: Database, sql: Queries, settings: Settings, files: Path) -> None:
    for status in ("в очереди", "загружено 1 из 2", "ошибка", PURGED):
        set_status(sql, sql.post("a.csv"), status, 1000 * HOUR)
    (files / "1" / "a.csv").write_bytes(b"")
    assert retention.purge(own, settings) == []
    assert (files / "1" / "a.csv").exists()


def test_many_that_expire_together_go_in_a_few_rounds(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    sql(
        "INSERT INTO post (user_id, task_status, file_to_download, task_status_timestamp)"
        f" SELECT 1, '{PREPARED}', g || '.csv', '2020-01-01' FROM generate_series(1, %s) g",
        retention.BATCH + 10,
    )
    assert [len(retention.purge(own, settings)) for _ in range(3)] == [retention.BATCH, 10, 0]


def test_a_job_without_a_row_of_the_web_ui_expires_by_its_own_end(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    job = (
        "INSERT INTO tksva_q.job (user_id, file_name, state, finished_at)"
        " VALUES (1, %s, %s, now() - make_interval(hours => %s)) RETURNING id"
    )
    old = sql.value(job, "old.csv", "done", 73)
    sql.value(job, "young.csv", "done", 71)
    sql.value(job, "failed.csv", "failed", 73)
    sql.value(job, None, "done", 73)
    for name in ("old.csv", "young.csv", "failed.csv"):
        (files / "1" / name).write_bytes(b"123")
    assert retention.purge(own, settings) == [Purged(None, old, 1, "old.csv", 3)]
    assert sorted(path.name for path in (files / "1").iterdir()) == ["failed.csv", "young.csv"]
    assert retention.purge(own, settings) == []


# --- clicked, hidden --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [CLICKED, HIDDEN])
def test_the_grace_begins_when_the_click_is_first_seen(
    own: Database, sql: Queries, settings: Settings, files: Path, status: str
) -> None:
    post = prepared(sql, files, age=10 * HOUR)
    set_status(sql, post, status)
    assert retention.purge(own, settings) == []
    let_grace_pass(sql, 30)
    assert retention.purge(own, settings) == []
    assert (files / "1" / "a.csv").exists()
    let_grace_pass(sql, 31)
    assert retention.purge(own, settings) == [Purged(post, None, 1, "a.csv", 5)]
    assert not (files / "1" / "a.csv").exists()
    assert sql.status(post) == PURGED
    assert sql("SELECT * FROM tksva_q.download") == []


def test_a_row_that_is_clicked_and_then_hidden_has_one_grace(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    post = prepared(sql, files)
    set_status(sql, post, CLICKED)
    retention.purge(own, settings)
    let_grace_pass(sql, 30)
    set_status(sql, post, HIDDEN)
    assert retention.purge(own, settings) == []
    let_grace_pass(sql, 31)
    assert len(retention.purge(own, settings)) == 1


def test_a_file_that_is_prepared_anew_and_clicked_again_gets_its_whole_grace_again(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    post = prepared(sql, files)
    set_status(sql, post, CLICKED)
    retention.purge(own, settings)
    let_grace_pass(sql, 30)
    set_status(sql, post, "в очереди")
    retention.purge(own, settings)
    let_grace_pass(sql, 3000)
    set_status(sql, post, PREPARED, 0)
    set_status(sql, post, CLICKED)
    assert retention.purge(own, settings) == []
    assert (files / "1" / "a.csv").exists()


def test_clicks_of_rows_that_were_deleted_are_forgotten(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    post = prepared(sql, files)
    set_status(sql, post, CLICKED)
    retention.purge(own, settings)
    sql("DELETE FROM post")
    retention.purge(own, settings)
    assert sql("SELECT * FROM tksva_q.download") == []


def test_without_a_grace_the_file_goes_with_the_next_look(
    own: Database, sql: Queries, database: str, files: Path, tmp_path: Path
) -> None:
    set_status(sql, prepared(sql, files), CLICKED)
    at_once = make_settings(database, tmp_path, download_grace_seconds=0)
    assert len(retention.purge(own, at_once)) == 1


# --- what is not there, or not what it seems --------------------------------------------------------------------------


def test_a_file_that_is_gone_already_is_no_error(own: Database, sql: Queries, settings: Settings, files: Path) -> None:
    gone, no_folder = prepared(sql, files, age=73 * HOUR), prepared(sql, files, user=2, age=73 * HOUR)
    for user in ("1", "2"):
        (files / user / "a.csv").unlink()
    (files / "2").rmdir()
    assert {one.post_id for one in retention.purge(own, settings)} == {gone, no_folder}
    assert sql("SELECT DISTINCT task_status FROM post") == [(PURGED,)]


def test_a_row_without_a_user_or_a_name_is_put_away(own: Database, sql: Queries, settings: Settings) -> None:
    sql(f"INSERT INTO post (task_status, task_status_timestamp) VALUES ('{PREPARED}', '2020-01-01')")
    (purged,) = retention.purge(own, settings)
    assert (purged.user_id, purged.name, purged.size) == (0, "", None)
    assert sql("SELECT task_status FROM post") == [(PURGED,)]


@pytest.mark.parametrize("name", ["../2/theirs.csv", "..", ".hidden", "folder", "link.csv"])
def test_a_name_that_leads_elsewhere_deletes_nothing(
    own: Database, sql: Queries, settings: Settings, files: Path, name: str
) -> None:
    (files / "2" / "theirs.csv").write_bytes(b"")
    (files / "1" / ".hidden").write_bytes(b"")
    (files / "1" / "folder").mkdir()
    (files / "1" / "link.csv").symlink_to(files / "2" / "theirs.csv")
    before = sorted(files.rglob("*"))
    set_status(sql, sql.post(name), PREPARED, 73 * HOUR)
    assert [one.size for one in retention.purge(own, settings)] == [None]
    assert sorted(files.rglob("*")) == before


def test_a_folder_that_is_a_link_to_elsewhere_is_left_alone(
    own: Database, sql: Queries, settings: Settings, files: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (files / "1").rmdir()
    (files / "1").symlink_to(elsewhere)
    post = prepared(sql, files, age=73 * HOUR)
    assert [one.size for one in retention.purge(own, settings)] == [None]
    assert (elsewhere / "a.csv").exists()
    assert sql.status(post) == PURGED


# --- rows that nobody wants -------------------------------------------------------------------------------------------


def test_jobs_of_hidden_rows_are_unwanted_until_they_are_cancelled(own: Database, sql: Queries) -> None:
    running, waiting, wanted = sql.post("a.csv"), sql.post("b.csv"), sql.post("c.csv")
    Inbox(lambda request: None).take_in(own)
    me = leases.Worker.this_process(15)
    with own.statement() as cursor:
        me.renew(cursor)
        assert jobs.claim(cursor, me.id, 0)
    sql("UPDATE post SET task_status = %s WHERE id <> %s", HIDDEN, wanted)
    with own.transaction() as cursor:
        unwanted = retention.unwanted(cursor)
        for job in unwanted:
            queueing.cancel(cursor, job)
        assert retention.unwanted(cursor) == []
    assert sorted(unwanted) == sorted(
        row[0] for row in sql("SELECT id FROM tksva_q.job WHERE post_id = ANY(%s)", [running, waiting])
    )
    assert sql("SELECT task_status FROM post WHERE id <> %s", wanted) == [(HIDDEN,), (HIDDEN,)]


# --- cost -------------------------------------------------------------------------------------------------------------


def test_no_look_reads_a_table_as_a_whole_however_long_the_history(
    own: Database, sql: Queries, settings: Settings, files: Path
) -> None:
    history(sql)
    rows = [prepared(sql, files, "expired.csv", age=73 * HOUR), prepared(sql, files, "clicked.csv")]
    set_status(sql, rows[1], CLICKED)
    sql("INSERT INTO tksva_q.job (user_id, file_name, state, finished_at) VALUES (1, 'api.csv', 'done', '2020-01-01')")
    before = whole_reads(own, sql)
    assert len(retention.purge(own, settings)) == 2
    let_grace_pass(sql)
    assert len(retention.purge(own, settings)) == 1
    assert retention.purge(own, settings) == []
    with own.statement() as cursor:
        assert retention.unwanted(cursor) == []
    assert whole_reads(own, sql) == before


def test_a_file_that_cannot_be_deleted_is_said_once_and_holds_up_no_other(
    own: Database, sql: Queries, settings: Settings, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = prepared(sql, files, "stuck.csv", age=73 * HOUR), prepared(sql, files, "other.csv", age=73 * HOUR)
    unlink = os.unlink

    def read_only(path: str, *, dir_fd: int | None = None) -> None:
        if path == "stuck.csv":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", read_only)
    purged = {found.name: found for found in retention.purge(own, settings)}
    assert "Read-only" in str(purged["stuck.csv"].fault)
    assert (purged["other.csv"].size, purged["other.csv"].fault) == (5, None)
    assert (sql.status(stuck), sql.status(other)) == (PURGED, PURGED)
    assert retention.purge(own, settings) == []
