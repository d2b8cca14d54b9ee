"""The API: lists, one job, queue, cancel, retry, files."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.daemons import Daemon
from tests.database import Queries
from tests.waiting import wait_for
from tests.web.server import new_job

Start = Callable[..., Daemon]


def state(client: httpx.Client, job: int) -> str:
    return client.get(f"/api/jobs/{job}").json()["state"]


def finished(client: httpx.Client, **changed: object) -> dict[str, object]:
    job = client.post("/api/jobs", json=new_job(**changed)).json()["id"]
    wait_for(lambda: state(client, job) == "done")
    return client.get(f"/api/jobs/{job}").json()


def test_a_job_goes_from_the_request_to_the_file(client: httpx.Client, start_daemon: Start) -> None:
    start_daemon()
    answer = client.post("/api/jobs", json=new_job(file_name='Тайшет (1) "2".csv'))
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['id']}"
    wait_for(lambda: state(client, answer.json()["id"]) == "done")
    job = client.get(answer.headers["location"]).json()
    assert (job["rows"], job["total"], job["share"]) == (1000, 1000, 1.0)
    assert job["conditions"] == new_job()["conditions"]
    assert [one["outcome"] for one in job["attempts"]] == ["done"]
    assert sum(page["rows"] for page in job["pages"]) == 1000
    file = client.get(job["file"])
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.text.count("\r\n") + file.text.count("\n") >= 1000
    assert len(file.content) == job["bytes"]
    assert file.headers["content-disposition"] == (
        "attachment; filename=\"______ (1) _2_.csv\"; filename*=UTF-8''"
        "%D0%A2%D0%B0%D0%B9%D1%88%D0%B5%D1%82%20%281%29%20%222%22.csv"
    )


def test_a_file_is_given_in_ranges(client: httpx.Client, start_daemon: Start) -> None:
    start_daemon()
    path = str(finished(client)["file"])
    whole = client.get(path)
    part = client.get(path, headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, whole.content[10:30])
    assert part.headers["content-range"] == f"bytes 10-29/{len(whole.content)}"
    rest = client.get(path, headers={"Range": "bytes=-5", "If-Range": whole.headers["etag"]})
    assert rest.content == whole.content[-5:]
    stale = client.get(path, headers={"Range": "bytes=-5", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, whole.content)
    beyond = client.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


def test_a_file_that_is_gone_or_not_yet_there_is_said_to_be_so(
    client: httpx.Client, start_daemon: Start, sql: Queries
) -> None:
    waiting = client.post("/api/jobs", json=new_job()).json()["id"]
    assert client.get(f"/api/jobs/{waiting}/file").status_code == 409
    daemon = start_daemon()
    wait_for(lambda: state(client, waiting) == "done")
    daemon.file("a.csv").unlink()
    assert client.get(f"/api/jobs/{waiting}/file").status_code == 410
    sql("UPDATE tksva_q.job SET purged_at = now()")
    assert client.get(f"/api/jobs/{waiting}/file").status_code == 410
    assert client.get("/api/jobs/999/file").status_code == 404


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"form": "нет такой"}, "нет обработки"),
        ({"conditions": {}}, "нет поля"),
        ({"file_name": "../a.csv"}, "разделитель"),
        ({"file_name": ".a.csv"}, "точки"),
        ({"file_name": "a.exe"}, "расширение"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 2**31}, "user_id"),
        ({"surprise": 1}, "surprise"),
        ({"conditions": {"x": "NaN"}}, "нет поля"),
    ],
)
def test_a_request_that_cannot_be_a_job_is_refused_with_the_reason(
    client: httpx.Client, changed: dict[str, object], reason: str
) -> None:
    answer = client.post("/api/jobs", json=new_job(**changed))
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize(
    "conditions",
    ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', '{"a": ' + "[" * 400 + "]" * 400 + "}", '{"a": 1e999}'],
)
def test_conditions_of_any_kind_are_shown_as_they_are_or_refused(client: httpx.Client, conditions: str) -> None:
    ours = json.dumps(new_job()["conditions"])[:-1] + ", " + conditions[1:]
    body = json.dumps(new_job() | {"conditions": 0}).replace('"conditions": 0', f'"conditions": {ours}')
    answer = client.post("/api/jobs", content=body.encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code in {201, 422}
    if answer.status_code == 201:
        assert client.get(answer.headers["location"]).status_code == 200
        assert client.get(answer.headers["location"].removeprefix("/api")).status_code == 200


def test_lists_are_filtered_and_paged(client: httpx.Client, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, user_id, state, finished_at)"
        " SELECT 'f' || g % 2, g % 3, CASE WHEN g % 4 = 0 THEN 'failed' ELSE 'done' END, now()"
        " FROM generate_series(1, 120) g"
    )
    first = client.get("/api/jobs").json()
    assert [job["id"] for job in first["jobs"]] == list(range(120, 70, -1))
    assert first["more"]
    assert not client.get("/api/jobs", params={"page": 3}).json()["more"]
    chosen = client.get("/api/jobs", params={"state": "failed", "form": "f0", "user": 1}).json()["jobs"]
    assert [job["id"] for job in chosen] == [id for id in range(120, 0, -1) if id % 4 == 0 and id % 3 == 1]
    assert client.get("/api/jobs", params={"state": "flying"}).status_code == 422


def test_a_waiting_job_is_cancelled_and_queued_again(client: httpx.Client) -> None:
    job = client.post("/api/jobs", json=new_job()).json()["id"]
    assert client.post(f"/api/jobs/{job}/cancel").json() == {"id": job, "was": "waiting"}
    assert state(client, job) == "cancelled"
    assert client.post(f"/api/jobs/{job}/cancel").status_code == 409
    assert client.post(f"/api/jobs/{job}/retry").json() == {"id": job, "was": "cancelled"}
    assert state(client, job) == "waiting"
    assert client.post(f"/api/jobs/{job}/retry").status_code == 409
    assert client.post("/api/jobs/999/retry").status_code == 404
    assert client.post("/api/jobs/999/cancel").status_code == 404


def test_a_reason_is_shown_without_passwords(client: httpx.Client, sql: Queries) -> None:
    sql(
        "INSERT INTO tksva_q.job (form, state, error, finished_at)"
        " VALUES ('f', 'failed', 'no way to postgresql://me:s3cret-word@host/dwh', now())"
    )
    job = client.get("/api/jobs").json()["jobs"][0]
    assert "s3cret-word" not in client.get("/").text + json.dumps(job) + client.get(f"/jobs/{job['id']}").text
    assert "no way to" in job["error"]


def test_the_description_is_served_without_any_other_address(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "/api/jobs/{job_id}/retry" in page.text
    assert "http" not in page.text.replace("http-equiv", "")
    assert client.get("/openapi.json").json()["openapi"].startswith("3.")
