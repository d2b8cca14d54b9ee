"""The loop, seen from outside: a real daemon, rows as the web UI writes them."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

import queueing
from db import Database
from tests.daemons import FAILED, PREPARED, SLOW, Daemon, Start, job_state, submit
from tests.database import TABLE, Queries, locked, server_cursor
from tests.waiting import BUSY, wait_for

#: How long jobs have waited for their first attempt at most, in seconds.
WAITED = "extract(epoch FROM max(started_at - queued_at::timestamptz))"

# --- the main job -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["отчёт (1).csv", "отчёт.xlsx"])
def test_a_row_becomes_a_complete_file(start_daemon: Start, sql: Queries, name: str) -> None:
    daemon = start_daemon()
    post = sql.post(name)
    sql.await_status(post, PREPARED)
    path = daemon.file(name)
    assert path.stat().st_size > 10_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2750
    assert [entry.name for entry in path.parent.iterdir()] == [name]
    assert not locked(sql)
    assert daemon.stop() == 0


def test_both_forms_include_the_whole_last_day(start_daemon: Start, sql: Queries) -> None:
    daemon = start_daemon()
    days = {"start_date": "2024-01-10", "finish_date": "2024-01-20"}
    station = sql.post("s.csv", conditions={"station_name": "Лена", **days})
    railway = sql.post("r.csv", form="DownloadForRailwayForm", conditions={"railway_name": "ЗАБ", **days})
    for post, name, column, value in (
        (station, "s.csv", "Ст. Отправления", "Лена"),
        (railway, "r.csv", "Дор. Отправления", "ЗАБ"),
    ):
        sql.await_status(post, PREPARED)
        rows = sql.value(
            f'SELECT count(*) FROM {TABLE} WHERE "{column}" = %s AND "SVOD.Дата отправки"::date'
            " BETWEEN '2024-01-10' AND '2024-01-20'",
            value,
        )
        assert len(daemon.file(name).read_text("utf-8-sig").splitlines()) == rows + 1


def test_the_status_counts_rows_really_in_the_file(start_daemon: Start, sql: Queries) -> None:
    sql(
        "CREATE TABLE seen (status text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (NEW.task_status); RETURN NULL; END $$;"
        "CREATE TRIGGER see AFTER UPDATE ON post FOR EACH ROW EXECUTE FUNCTION see()"
    )
    start_daemon(chunk_size=300)
    sql.await_status(sql.post("a.csv"), PREPARED)
    assert [row[0] for row in sql("SELECT status FROM seen")] == [
        "загружено 0 из 1000",
        "загружено 300 из 1000",
        "загружено 600 из 1000",
        "загружено 900 из 1000",
        "загружено 1000 из 1000",
        "загружено 1000 из 1000",
        PREPARED,
    ]


def test_a_row_is_seen_within_a_second_without_the_trigger(start_daemon: Start, sql: Queries) -> None:
    sql("DROP TRIGGER tksva_q_wake ON post")
    start_daemon()
    sql.await_status(sql.post("warm.csv"), PREPARED)
    for number in range(3):
        sql.await_status(sql.post(f"{number}.csv"), PREPARED)
    assert sql.value(f"SELECT {WAITED} FROM tksva_q.job WHERE file_name <> 'warm.csv'") < 1.2 * BUSY


def test_a_row_is_seen_at_once_with_the_trigger(start_daemon: Start, sql: Queries) -> None:
    start_daemon(poll_seconds=60)
    sql.await_status(sql.post("warm.csv"), PREPARED)
    sql.await_status(sql.post("a.csv"), PREPARED)
    assert sql.value(f"SELECT {WAITED} FROM tksva_q.job WHERE file_name <> 'warm.csv'") < 1 * BUSY


def test_one_worker_keeps_the_order_of_timestamps(start_daemon: Start, sql: Queries) -> None:
    posts = [sql.post(f"{day}.csv", timestamp=f"timestamp '2024-01-0{day}'") for day in (3, 1, 4, 2)]
    start_daemon()
    for post in posts:
        sql.await_status(post, PREPARED)
    assert sql("SELECT file_name FROM tksva_q.job ORDER BY finished_at") == [
        ("1.csv",),
        ("2.csv",),
        ("3.csv",),
        ("4.csv",),
    ]
    assert (
        sql.value(
            "SELECT count(*) FROM tksva_q.attempt a JOIN tksva_q.attempt b ON a.job_id < b.job_id"
            " AND a.started_at < b.finished_at AND b.started_at < a.finished_at"
        )
        == 0
    )


def test_two_workers_run_two_jobs_at_a_time(start_daemon: Start, sql: Queries) -> None:
    sql(SLOW)
    posts = [sql.post(f"{number}.csv") for number in range(4)]
    start_daemon(workers=2, chunk_size=100)
    wait_for(lambda: sql.value("SELECT count(*) FROM post WHERE task_status LIKE 'загружено %%'") == 2)
    assert [sql.status(post) for post in posts[2:]] == ["в очереди", "в очереди"]
    assert locked(sql)
    for post in posts:
        sql.await_status(post, PREPARED)
    assert not locked(sql)


def test_purging_goes_on_every_second_during_a_long_export(start_daemon: Start, sql: Queries) -> None:
    daemon = start_daemon(chunk_size=1)
    long = sql.post("long.csv")
    sql.await_status(long, "загружено .*")
    folder = daemon.files / "2"
    folder.mkdir(parents=True)
    with server_cursor(sql.conninfo) as holder:
        holder.execute(f"BEGIN; LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")  # the next page is never answered
        for number in range(3):
            (folder / f"{number}.csv").write_text("x")
            [(expired, at)] = sql(
                "INSERT INTO post (user_id, file_to_download, task_status, task_status_timestamp) VALUES"
                " (2, %s, 'файл подготовлен', localtimestamp - interval '73 hours') RETURNING id, localtimestamp",
                f"{number}.csv",
            )
            sql.await_status(expired, "скрыта менеджером очереди")
            after = sql.value("SELECT task_status_timestamp - %s FROM post WHERE id = %s", at, expired)
            assert after.total_seconds() < 1.5 * BUSY
            wait_for(lambda number=number: not (folder / f"{number}.csv").exists())
        assert sql.status(long).startswith("загружено ")


# --- bad input --------------------------------------------------------------------------------------------------------

DAYS = {"start_date": "2024-01-01", "finish_date": "2024-12-31"}


@pytest.mark.parametrize(
    ("form", "conditions", "name"),
    [
        ("NoSuchForm", None, "a.csv"),
        ("add", None, "a.csv"),
        ("__import__", None, "a.csv"),
        (None, None, "a.csv"),
        ("DownloadForStationForm", "null", "a.csv"),
        ("DownloadForStationForm", "[]", "a.csv"),
        ("DownloadForStationForm", '"text"', "a.csv"),
        ("DownloadForStationForm", {"station_name": "Тайшет"}, "a.csv"),
        ("DownloadForStationForm", {"station_name": "Тайшет", **DAYS, "finish_date": "2023-12-31"}, "a.csv"),
        ("DownloadForStationForm", {"station_name": "Тайшет", **DAYS, "finish_date": "2024-02-30"}, "a.csv"),
        ("DownloadForStationForm", {"station_name": "я" * 10_000, **DAYS}, "a.csv"),
        ("DownloadForStationForm", {"station_name": "'; drop table post; --", **DAYS}, "a.csv"),
        ("DownloadForStationForm", {"station_name": ["Тайшет"], **DAYS}, "a.csv"),
        ("DownloadForStationForm", None, "a.exe"),
        ("DownloadForStationForm", None, "../2/a.csv"),
        ("DownloadForStationForm", None, ".a.csv"),
        ("DownloadForStationForm", None, None),
    ],
)
def test_a_bad_request_fails_at_once_and_harms_nobody(
    start_daemon: Start, sql: Queries, form: str | None, conditions: object, name: str | None
) -> None:
    daemon = start_daemon()
    bad = sql.post(name, form=form, conditions=conditions)
    good = sql.post("good.csv")
    sql.await_status(bad, FAILED)
    sql.await_status(good, PREPARED)
    assert sql("SELECT error <> '', attempt FROM tksva_q.job WHERE post_id = %s", bad) == [(True, 0)]
    assert len([line for line in daemon.lines if f"post={bad} " in line]) == 1
    assert [path.name for path in daemon.files.rglob("*") if path.is_file()] == ["good.csv"]


def test_a_folder_that_is_a_link_fails_its_job_and_is_not_written_through(
    start_daemon: Start, sql: Queries, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    daemon = start_daemon()
    daemon.files.mkdir(exist_ok=True)
    (daemon.files / "2").symlink_to(elsewhere)
    sql.await_status(sql.post("a.csv", user=2), FAILED)
    assert sql.value("SELECT attempt FROM tksva_q.job") == 1
    sql.await_status(sql.post("b.csv"), PREPARED)
    assert list(elsewhere.iterdir()) == []


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_after_a_kill_the_file_is_finished_from_its_last_page(start_daemon: Start, sql: Queries, name: str) -> None:
    daemon = start_daemon(chunk_size=100)
    sql.await_status(sql.post(name), PREPARED)
    undisturbed = daemon.file(name).read_bytes()
    daemon.file(name).unlink()
    sql(SLOW)
    post = sql.post(name)
    sql.await_status(post, "загружено [3-6]00 из 1000")
    daemon.kill()
    sql("DROP VIEW audit._sales__execution_orders; ALTER TABLE audit.fast RENAME TO _sales__execution_orders")
    rows, size = sql("SELECT rows, bytes FROM tksva_q.job WHERE post_id = %s", post)[0]
    assert locked(sql)
    assert not daemon.file(name).exists()
    again = start_daemon(chunk_size=100)
    sql.await_status(post, PREPARED)
    again.await_line("job_rescued")
    assert not locked(sql)
    assert sql("SELECT rows_before, outcome FROM tksva_q.attempt WHERE attempt = 2") == [(rows, "done")]
    assert sql.value("SELECT min(page) FROM tksva_q.page WHERE attempt = 2") == rows // 100 + 1
    assert again.file(name).read_bytes() == undisturbed
    assert size > 0


@pytest.mark.parametrize(
    ("form", "reason"),
    [("faulty", "the warehouse is not there"), ("broken", "ZeroDivisionError: a bug"), ("hungry", "out of memory")],
)
def test_a_fault_that_may_pass_is_tried_again(
    start_daemon: Start, sql: Queries, database: str, form: str, reason: str
) -> None:
    start_daemon(integrations="testing", max_attempts=2)
    job = submit(database, form)
    wait_for(lambda: job_state(sql, job) == ("waiting", reason))
    assert (sql.value("SELECT chunk_size FROM tksva_q.job") == 25_000) == (form == "hungry")
    sql("UPDATE tksva_q.job SET run_at = now()")
    wait_for(lambda: job_state(sql, job) == ("failed", reason))


def test_a_cancelled_job_is_killed_within_a_second_and_leaves_no_part(
    start_daemon: Start, sql: Queries, database: str
) -> None:
    sql(SLOW)
    daemon = start_daemon(chunk_size=100)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено [1-9].*")
    own = Database(database, "test")
    asked = sql.value("SELECT clock_timestamp()")
    with own.transaction() as cursor:
        assert queueing.cancel(cursor, sql.value("SELECT id FROM tksva_q.job")) == "running"
    own.close()
    sql.await_status(post, FAILED)
    assert sql.value("SELECT finished_at FROM tksva_q.job") - asked < timedelta(seconds=1.2 * BUSY)
    wait_for(lambda: not [path for path in daemon.files.rglob("*") if path.is_file()])
    assert not locked(sql)


def test_a_row_hidden_while_it_is_prepared_stops_its_job(start_daemon: Start, sql: Queries) -> None:
    sql(SLOW)
    daemon = start_daemon(chunk_size=100, download_grace_seconds=0)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено [1-9].*")
    sql("UPDATE post SET task_status = 'скрыта пользователем'")
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job") == "cancelled")
    sql.await_status(post, "скрыта менеджером очереди")
    assert not [path for path in daemon.files.rglob("*") if path.is_file()]


# --- the service ------------------------------------------------------------------------------------------------------


def test_what_a_crash_left_is_put_right_at_the_start(start_daemon: Start, sql: Queries, tmp_path: Path) -> None:
    post = sql.post("a.csv")
    sql(
        "UPDATE post SET task_status = 'загружено 50000 из 100000'; UPDATE dwh_tables_info SET gives_information = true"
    )
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    (folder / ".tksva_q-77-1.part").write_text("orphan")
    (folder / "mine.csv").write_text("somebody else's")
    start_daemon()
    sql.await_status(post, PREPARED)
    assert sorted(path.name for path in folder.iterdir()) == ["a.csv", "mine.csv"]
    assert not locked(sql)


def test_a_setting_that_makes_no_sense_stops_the_start(database: str, tmp_path: Path) -> None:
    daemon = Daemon(database, tmp_path, chunk_size="много")
    assert daemon.wait() == 2
    assert len(daemon.lines) == 1
    assert "CHUNK_SIZE" in daemon.lines[0]


def test_a_schema_newer_than_the_code_stops_the_start(sql: Queries, database: str, tmp_path: Path) -> None:
    sql("UPDATE tksva_q.alembic_version SET version_num = '9999'")
    daemon = Daemon(database, tmp_path)
    assert daemon.wait() == 1
    assert "9999" in daemon.log
