"""What the API of the reports refuses, and which parameter it names."""

from __future__ import annotations

import httpx

from tests.database import Queries

DAY = "2024-01-15"


def test_a_bad_day_is_refused_and_the_parameter_named(client: httpx.Client, sql: Queries) -> None:
    calls = (
        ("POST", "/report/generate", "report_date", {}),
        ("POST", "/report/generate", "from", {"to": DAY}),
        ("POST", "/report/generate", "to", {"from": DAY}),
        ("GET", "/report/", "report_date", {}),
        ("GET", "/report/download", "report_date", {"format": "csv"}),
    )
    for bad in ("15.01.2024", "2024-02-30", "20240115", "1705276800", "2024-01-15T00:00:00", "", "x"):
        for method, path, name, others in calls:
            answer = client.request(method, path, params={name: bad, **others})
            assert answer.status_code == 422, (bad, method, path, name)
            assert f"query.{name}:" in answer.json()["detail"], answer.json()
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_days_that_make_no_sense_together_are_refused(client: httpx.Client, sql: Queries) -> None:
    cases: tuple[tuple[dict[str, str], str], ...] = (
        ({}, "report_date"),
        ({"from": DAY}, "to"),
        ({"to": DAY}, "from"),
        ({"from": "2024-01-16", "to": DAY}, "to"),
        ({"from": "2000-01-01", "to": "2024-01-01"}, "to"),
        ({"report_date": DAY, "from": DAY, "to": DAY}, "report_date"),
    )
    for params, name in cases:
        answer = client.post("/report/generate", params=params)
        assert answer.status_code == 422, params
        assert answer.json()["detail"].startswith(f"query.{name}"), answer.json()
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_what_else_is_wrong_is_named_too(client: httpx.Client) -> None:
    for path, name in (
        ("/report/", "report_date"),
        ("/report/download?format=csv", "report_date"),
        (f"/report/download?report_date={DAY}&format=pdf", "format"),
        ("/report/all?page=0", "page"),
        ("/report/all?count=1001", "count"),
        ("/report/all?count=0", "count"),
        ("/report/status/x", "task_id"),
    ):
        answer = client.get(path)
        assert answer.status_code == 422, path
        assert f".{name}:" in answer.json()["detail"], answer.json()


def test_a_task_that_is_none_of_these_is_not_found(client: httpx.Client, sql: Queries) -> None:
    other = sql.value("INSERT INTO tksva_q.job (form) VALUES ('DownloadForStationForm') RETURNING id")
    assert client.get(f"/report/status/{other}").status_code == 404
    assert client.get(f"/report/status/{other + 1}").status_code == 404


def test_a_task_that_could_not_is_shown_with_its_reason(client: httpx.Client, sql: Queries) -> None:
    task = sql.value(
        "INSERT INTO tksva_q.job (form, params, state, error, finished_at)"
        " VALUES ('daily_report', '{}', 'failed', 'нет поля start_date', now()) RETURNING id"
    )
    found = client.get(f"/report/status/{task}").json()
    assert (found["status"], found["error"], found["from"]) == ("failed", "нет поля start_date", None)


def test_the_general_door_refuses_days_that_make_no_sense(client: httpx.Client) -> None:
    wrong = {"form": "daily_report", "conditions": {"start_date": "2024-02-30", "finish_date": DAY}}
    answer = client.post("/api/jobs", json=wrong)
    assert answer.status_code == 422
    assert "start_date" in answer.json()["detail"]
