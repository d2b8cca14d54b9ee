"""The application put together: its parts, and what every error becomes."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator

import pytest
from fastapi import APIRouter

from db import DatabaseAway
from errors import StorageError, UserError
from tests.daemons import make_settings
from tests.web.inside import Inside
from tests.web.server import TOKEN, new_job
from web.app import create_app
from web.security import HEADERS, Refused

HTML = {"Accept": "text/html,application/xhtml+xml"}
JSON = {"Accept": "application/json"}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Exception]]:
    """A workload `failing` whose page `/fail` raises what stands under `error`."""
    module = types.ModuleType("integrations.failing")
    router = APIRouter()
    kept: dict[str, Exception] = {}

    @router.get("/fail")
    async def fail() -> None:
        raise kept["error"]

    @router.get("/api/fail")
    async def fail_machines() -> None:
        raise kept["error"]

    module.routes = lambda: router  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "integrations.failing", module)
    yield kept


@pytest.fixture
def broken(failing: dict[str, Exception], start_inside: Callable[..., Inside]) -> Inside:
    return start_inside(integrations="failing")


def test_every_part_answers(inside: Inside) -> None:
    for path in ("/", "/jobs", "/api/jobs", "/docs", "/openapi.json", "/metrics", "/static/app.css"):
        assert inside.get(path).status_code == 200, path
    assert inside.get("/healthz").status_code == 503  # no loop goes round
    assert inside.get("/files/1").status_code == 422


def test_pages_of_another_address_are_not_offered(inside: Inside) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert inside.get(path).status_code == 404


def test_routes_of_a_workload_are_there_only_where_it_is_on(
    failing: dict[str, Exception], start_inside: Callable[..., Inside]
) -> None:
    failing["error"] = UserError("своё")
    assert start_inside().get("/fail").json() == {"detail": "такой страницы нет"}
    assert start_inside(integrations="failing").get("/fail").json() == {"detail": "своё"}


def test_a_workload_with_a_title_has_a_place_in_the_menu(start_inside: Callable[..., Inside]) -> None:
    assert "Отчёты" in start_inside(integrations="daily_reports").get("/jobs").text
    assert "Отчёты" not in start_inside().get("/jobs").text


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Refused(409, "состояние не то", {"X-Why": "because"}), 409, "состояние не то"),
        (DatabaseAway("connection refused"), 503, "база данных недоступна: connection refused"),
        (UserError("имя не то"), 422, "имя не то"),
        (StorageError("диск полон"), 422, "диск полон"),
        (ZeroDivisionError("s3cret"), 500, "ошибка на нашей стороне, подробности — в журнале"),
    ],
)
def test_an_error_is_a_page_for_people_and_json_for_machines(
    broken: Inside, failing: dict[str, Exception], error: Exception, status: int, words: str
) -> None:
    failing["error"] = error
    page, answer, machine = (
        broken.get("/fail", headers=HTML),
        broken.get("/fail", headers=JSON),
        broken.get("/api/fail", headers=HTML),
    )
    assert [one.status_code for one in (page, answer, machine)] == [status] * 3
    assert page.headers["content-type"].startswith("text/html")
    assert words in page.text
    assert answer.json() == machine.json() == {"detail": words}
    for one in (page, answer, machine):
        assert one.headers["cache-control"] == "no-store"
        assert all(one.headers[name] == value for name, value in HEADERS.items())
        assert "s3cret" not in one.text


def test_the_headers_of_a_refusal_are_sent(broken: Inside, failing: dict[str, Exception]) -> None:
    failing["error"] = DatabaseAway("away")
    assert broken.get("/fail").headers["retry-after"] == "2"
    failing["error"] = Refused(429, "подождите", {"Retry-After": "17"})
    assert broken.get("/fail").headers["retry-after"] == "17"


def test_a_secret_in_an_error_is_not_shown(start_inside: Callable[..., Inside], failing: dict[str, Exception]) -> None:
    failing["error"] = UserError("no way to postgresql://user:s3cret-word@host/db, half \ud83d a character")
    text = start_inside(integrations="failing").get("/fail").json()["detail"]
    assert "s3cret-word" not in text
    assert text.endswith("half ? a character")


def test_what_is_not_there_is_said_in_russian(inside: Inside) -> None:
    assert inside.get("/nothing").json() == {"detail": "такой страницы нет"}
    assert "такой страницы нет" in inside.get("/nothing", headers=HTML).text
    assert inside.request("PUT", "/api/jobs").json() == {"detail": "так обратиться нельзя"}
    assert inside.request("PUT", "/api/jobs").status_code == 405


def test_a_wrong_parameter_is_named_without_what_was_given(inside: Inside) -> None:
    answer = inside.get("/api/jobs", params={"page": "many\x00", "user": -1})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("query.user: ")
    assert "; query.page: " in answer.json()["detail"]
    assert "many" not in answer.text
    assert "body.file_name" in inside.post("/api/jobs", json=new_job(file_name="a\x00")).json()["detail"]


def test_a_foreign_name_is_refused_before_anything_is_looked_at(
    start_inside: Callable[..., Inside], failing: dict[str, Exception]
) -> None:
    failing["error"] = ZeroDivisionError()
    broken = start_inside(integrations="failing")
    assert broken.get("/fail", headers={"Host": "evil.example"}).status_code == 403
    guarded = start_inside(integrations="failing", api_token=TOKEN)
    assert guarded.get("/fail", headers={"Host": "evil.example"}).status_code == 500


def test_without_a_place_for_its_key_it_does_not_start(database: str, tmp_path: object) -> None:
    with pytest.raises(StorageError):
        create_app(make_settings(database, tmp_path, var_dir="/proc/nowhere"))  # type: ignore[arg-type]


def test_it_stops_looking_at_the_database_when_it_ends(start_inside: Callable[..., Inside]) -> None:
    inside = start_inside()
    thread = inside.context.monitor._thread
    assert thread.is_alive()
    inside.close()
    thread.join(10)
    assert not thread.is_alive()
