"""What the API takes and gives: what is refused before the queue sees it, and what a job looks like."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from reports import JobPage
from tests.records import BEGAN, attempt, detail, export_page, job_row
from tests.web.server import new_job
from web import models
from web.models import NewJob

# --- taken ------------------------------------------------------------------------------------------------------------


def test_a_job_needs_no_more_than_its_form_and_conditions() -> None:
    wanted = NewJob(form="f", conditions={})
    assert (wanted.user_id, wanted.file_name, wanted.priority) == (None, None, 5)


@pytest.mark.parametrize(
    "changed",
    [
        {"form": ""},
        {"form": "я" * 141},
        {"form": "a\x00b"},
        {"form": None},
        {"conditions": []},
        {"conditions": "{}"},
        {"conditions": None},
        {"user_id": 0},
        {"user_id": 2**31},
        {"file_name": ""},
        {"file_name": "a\x00.csv"},
        {"file_name": "я" * 141},
        {"priority": -1},
        {"priority": 101},
        {"state": "done"},
    ],
)
def test_what_the_columns_do_not_hold_is_refused(changed: dict[str, Any]) -> None:
    NewJob.model_validate(new_job())
    with pytest.raises(ValidationError) as told:
        NewJob.model_validate(new_job(**changed))
    assert [one["loc"][0] for one in told.value.errors()] == list(changed)


@pytest.mark.parametrize("changed", [{"form": "я" * 140}, {"user_id": 2**31 - 1}, {"priority": 0}, {"priority": 100}])
def test_the_greatest_and_the_least_are_taken(changed: dict[str, Any]) -> None:
    assert NewJob.model_validate(new_job(**changed)).model_dump().items() >= changed.items()


def test_the_example_of_the_description_is_a_job() -> None:
    [example] = NewJob.model_json_schema()["examples"]
    assert NewJob.model_validate(example).form == "DownloadForStationForm"


# --- given ------------------------------------------------------------------------------------------------------------


def test_a_job_is_given_with_what_is_done_and_where_its_file_is() -> None:
    job = models.job(job_row(state="done", rows=1000, finished_at=BEGAN))
    assert (job.share, job.file, job.error) == (1.0, "/api/jobs/7/file", None)
    assert models.job(job_row()).share == 0.5


@pytest.mark.parametrize(
    "changed",
    [{"state": "running"}, {"state": "failed"}, {"purged_at": BEGAN}, {"file_name": None}, {"user_id": None}],
)
def test_a_file_that_cannot_be_had_has_no_address(changed: dict[str, Any]) -> None:
    row = job_row(**{"state": "done"} | changed)
    assert not models.has_file(row)
    assert models.job(row).file is None


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose zone is ten hours before UTC."""
    monkeypatch.setenv("TZ", "Asia/Vladivostok")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_time_of_queueing_is_given_with_this_machines_zone() -> None:
    given = models.job(job_row(queued_at=datetime(2024, 1, 31, 12, 0))).queued_at
    assert given.isoformat() == "2024-01-31T12:00:00+10:00"


def test_no_reason_shows_a_password() -> None:
    words = "no way to postgresql://user:s3cret-word@host/db"
    full = models.full_job(detail(job_row(error=words), attempts=(attempt(reason=words), attempt(number=2))))
    assert "s3cret-word" not in full.model_dump_json()
    assert full.error
    assert full.error.startswith("no way to postgresql://")
    assert full.attempts[1].reason is None
    assert models.reason(None) is None


def test_a_job_is_given_with_its_attempts_and_pages() -> None:
    full = models.full_job(
        detail(table="audit.a", attempts=(attempt(outcome="done", rows_after=9),), pages=(export_page(3, 5, 2.0),))
    )
    assert full.table == "audit.a"
    assert [(one.number, one.outcome, one.rows_after) for one in full.attempts] == [(1, "done", 9)]
    assert [(one.number, one.rows, one.seconds) for one in full.pages] == [(3, 5, {"fetch": 1.0, "page": 2.0})]


@pytest.mark.parametrize(
    ("params", "conditions"),
    [
        (None, None),
        ('{"a": [1, "б", null]}', {"a": [1, "б", None]}),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ("not JSON", "not JSON"),
        ('{"a": NaN}', '{"a": NaN}'),
        ("[1e999]", "[1e999]"),
        ('"\\ud83d"', '"\\ud83d"'),
        ("[" * 100_000, "[" * 100_000),
        ("[" * 150 + "]" * 150, json.loads("[" * 150 + "]" * 150)),
        ('{"a": 1' + "0" * 5000 + "}", '{"a": 1' + "0" * 5000 + "}"),
    ],
)
def test_conditions_are_given_as_what_they_are_or_as_their_text(params: str | None, conditions: object) -> None:
    full = models.full_job(detail(params=params))
    assert full.conditions == conditions
    assert json.loads(full.model_dump_json())["conditions"] == conditions


def test_a_page_of_a_list_says_whether_there_is_another() -> None:
    page = models.jobs(JobPage((job_row(), job_row(id=6)), 3, more=True))
    assert ([job.id for job in page.jobs], page.page, page.more) == ([7, 6], 3, True)
