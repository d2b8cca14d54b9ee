"""What a person may do to a job, by whichever door they come: against a real PostgreSQL and a real folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import control
import processings
from db import Database
from errors import UserError
from processings import Processing
from settings import Settings
from tests.daemons import make_settings
from tests.database import TABLE, Queries

FORM = "DownloadForStationForm"
STATION = {"station_name": "Тайшет", "start_date": "2024-01-01", "finish_date": "2024-12-31"}


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    return make_settings(database, tmp_path)


@pytest.fixture
def folder(settings: Settings) -> Path:
    """The folder of user 1."""
    folder = settings.files_dir / "1"
    folder.mkdir(parents=True)
    return folder


def failed(sql: Queries, form: str = FORM, attempt: int = 0, table: str | None = None, **params: str) -> int:
    """A job that has failed; by default the inbox has refused it."""
    return int(
        sql.value(
            "INSERT INTO tksva_q.job (form, params, file_name, user_id, state, finished_at, error, attempt, dwh_table)"
            " VALUES (%s, %s::json, 'a.csv', 1, 'failed', now(), 'причина', %s, %s) RETURNING id",
            form,
            json.dumps(STATION | params),
            attempt,
            table,
        )
    )


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_job_is_queued_with_all_that_was_asked_for(own: Database, sql: Queries) -> None:
    at = datetime(2030, 1, 1, 12, tzinfo=UTC)
    job = control.submit(
        own,
        FORM,
        STATION,
        user_id=2,
        file_name="отчёт.xlsx",
        priority=9,
        run_at=at,
        time_limit=60,
        max_attempts=3,
        pause_seconds=7,
    )
    asked = (
        "form, params, user_id, file_name, priority, run_at, time_limit, max_attempts, pause_seconds, state, post_id"
    )
    assert sql(f"SELECT {asked} FROM tksva_q.job WHERE id = %s", job) == [
        (FORM, STATION, 2, "отчёт.xlsx", 9, at, 60.0, 3, 7.0, "waiting", None)
    ]


def test_a_job_is_queued_under_the_lock_of_the_table_that_its_form_reads(own: Database, sql: Queries) -> None:
    control.submit(own, FORM, STATION, user_id=1, file_name="a.csv")
    assert sql("SELECT dwh_table FROM tksva_q.job") == [(TABLE,)]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"form": "Nonsense"}, "form_name"),
        ({"form": "os.system"}, "form_name"),
        ({"params": {}}, "conditions"),
        ({"params": STATION | {"finish_date": "2024-02-30"}}, "finish_date"),
        ({"params": STATION | {"finish_date": "2023-01-01"}}, "finish_date"),
        ({"file_name": "../a.csv"}, "file_to_download"),
        ({"file_name": "a.exe"}, "file_to_download"),
        ({"file_name": None}, "file_to_download"),
        ({"user_id": None}, "user_id"),
    ],
)
def test_what_cannot_become_a_job_is_refused_and_leaves_no_row(
    own: Database, sql: Queries, changed: dict[str, Any], complaint: str
) -> None:
    asked = {"form": FORM, "params": STATION, "user_id": 1, "file_name": "a.csv"} | changed
    with pytest.raises(UserError, match=complaint):
        control.submit(own, asked.pop("form"), asked.pop("params"), **asked)
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_work_without_a_file_needs_no_user(own: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(processings.REGISTER, "sweep", Processing("sweep", lambda task: None))
    control.submit(own, "sweep", {"how": "thoroughly"})
    assert sql("SELECT form, user_id, dwh_table FROM tksva_q.job") == [("sweep", None, None)]


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_waiting_job_goes_with_what_it_has_prepared(
    own: Database, sql: Queries, settings: Settings, folder: Path
) -> None:
    job = control.submit(own, FORM, STATION, user_id=1, file_name="a.csv")
    sql("UPDATE tksva_q.job SET attempt = 2")
    names = {f".tksva_q-{job}-{attempt}.part": attempt <= 2 for attempt in (1, 2, 3)}
    names |= {f".tksva_q-{job + 1}-1.part": False, "a.csv": False}
    for name in names:
        (folder / name).touch()
    assert control.cancel(own, settings, job) == "waiting"
    assert {path.name for path in folder.iterdir()} == {name for name, gone in names.items() if not gone}


def test_the_part_file_of_a_running_job_is_left_to_its_worker(
    own: Database, sql: Queries, settings: Settings, folder: Path
) -> None:
    job = control.submit(own, FORM, STATION, user_id=1, file_name="a.csv")
    sql("UPDATE tksva_q.job SET state = 'running', attempt = 1, worker = gen_random_uuid(), slot = 0")
    part = folder / f".tksva_q-{job}-1.part"
    part.touch()
    assert control.cancel(own, settings, job) == "running"
    assert part.exists()
    assert sql("SELECT state, cancel FROM tksva_q.job") == [("running", True)]


def test_what_has_ended_or_never_was_is_not_cancelled(own: Database, sql: Queries, settings: Settings) -> None:
    job = failed(sql)
    assert control.cancel(own, settings, job) is None
    assert control.cancel(own, settings, job + 1) is None
    assert sql("SELECT state, error FROM tksva_q.job") == [("failed", "причина")]


def test_a_waiting_job_without_a_user_is_cancelled_too(
    own: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(processings.REGISTER, "sweep", Processing("sweep", lambda task: None))
    assert control.cancel(own, settings, control.submit(own, "sweep", {})) == "waiting"
    assert not settings.files_dir.exists()


# --- retry ------------------------------------------------------------------------------------------------------------


def test_one_failed_job_is_queued_again_or_all_of_them(own: Database, sql: Queries) -> None:
    first, second, third = failed(sql), failed(sql), failed(sql)
    assert control.retry(own, second) == [second]
    assert control.retry(own, second) == []
    assert sorted(control.retry(own)) == [first, third]
    assert sql("SELECT DISTINCT state, error FROM tksva_q.job") == [("waiting", None)]


def test_what_the_inbox_had_refused_is_examined_again_before_it_is_retried(own: Database, sql: Queries) -> None:
    learned, unknown, wrong = failed(sql), failed(sql, "Nonsense"), failed(sql, finish_date="2024-02-30")
    assert sorted(control.retry(own)) == [learned, unknown, wrong]
    assert sql("SELECT id, dwh_table FROM tksva_q.job ORDER BY id") == [
        (learned, TABLE),
        (unknown, None),
        (wrong, None),
    ]


def test_only_the_job_that_is_retried_is_examined_again(own: Database, sql: Queries) -> None:
    wanted, other = failed(sql), failed(sql)
    control.retry(own, wanted)
    assert sql("SELECT dwh_table FROM tksva_q.job WHERE id = %s", other) == [(None,)]


def test_a_job_that_has_once_run_keeps_its_table(own: Database, sql: Queries) -> None:
    """It was queued for this table, or for none, by whoever knew what it reads."""
    free, bound = failed(sql, attempt=1), failed(sql, attempt=1, table="audit.other")
    control.retry(own)
    assert sql("SELECT id, dwh_table FROM tksva_q.job ORDER BY id") == [(free, None), (bound, "audit.other")]


def test_a_processing_whose_check_breaks_stops_nobody_elses_retry(
    own: Database, sql: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(params: str | None) -> object:
        raise ZeroDivisionError

    monkeypatch.setitem(processings.REGISTER, "broken", Processing("broken", lambda task: None, TABLE, broken))
    jobs = [failed(sql, "broken"), failed(sql)]
    assert sorted(control.retry(own)) == jobs
    assert sql("SELECT dwh_table FROM tksva_q.job ORDER BY id") == [(None,), (TABLE,)]
