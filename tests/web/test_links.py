"""Links to finished files for people without the token: signed, and good for LINK_HOURS."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from settings import Settings
from tests.database import Queries
from tests.web.inside import Inside
from tests.web.server import FINISHED, TOKEN
from web import links
from web.security import Guard

GUARD = Guard(Settings(), b"key")


@pytest.fixture
def guarded(start_inside: Callable[..., Inside]) -> Inside:
    return start_inside(api_token=TOKEN)


@pytest.fixture
def job(sql: Queries, tmp_path: Path) -> int:
    """A finished job with its file."""
    folder = tmp_path / "files" / "1"
    folder.mkdir(parents=True)
    (folder / "Ворсино.csv").write_text("1234")
    return int(sql.value(FINISHED))


def made(inside: Inside, job: int) -> str:
    """The link to a job's file, as a path."""
    parts = urlsplit(links.link(inside.context.settings, inside.context.guard, job))
    return f"{parts.path}?{parts.query}"


# --- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"web_host": "127.0.0.1", "web_port": 8000}, "http://127.0.0.1:8000"),
        ({"web_host": "::1", "web_port": 8001}, "http://[::1]:8001"),
        ({"notify_link": "https://tksva.example/queue/"}, "https://tksva.example/queue"),
    ],
)
def test_a_link_leads_where_people_reach_the_page(settings: dict[str, object], base: str) -> None:
    assert links.link(Settings(**settings), GUARD, 7).startswith(f"{base}/files/7?until=")  # type: ignore[arg-type]


def test_a_link_is_good_from_now_on_for_the_hours_of_the_settings() -> None:
    before = time.time()
    query = parse_qs(urlsplit(links.link(Settings(link_hours=2), GUARD, 7)).query)
    assert before + 7199 <= int(query["until"][0]) <= time.time() + 7200
    assert GUARD.is_signed(query["signature"][0], "file", "7", query["until"][0])


# --- following --------------------------------------------------------------------------------------------------------


def test_whoever_has_the_link_gets_the_file_without_the_token(guarded: Inside, job: int) -> None:
    answer = guarded.get(made(guarded, job))
    assert (answer.status_code, answer.text) == (200, "1234")
    assert "filename*=UTF-8''%D0%92" in answer.headers["content-disposition"]
    assert guarded.get(f"/api/jobs/{job}/file").status_code == 401


def test_a_link_that_somebody_has_changed_is_refused(guarded: Inside, job: int, sql: Queries) -> None:
    other = sql.value(FINISHED)
    good = made(guarded, job)
    for changed in (
        good.replace("until=", "until=9"),
        good + "x",
        good.replace(f"/files/{job}?", f"/files/{other}?"),
        good.partition("&signature")[0] + "&signature=",
    ):
        answer = guarded.get(changed)
        assert (answer.status_code, answer.json()) == (403, {"detail": "ссылка неверна"})


def test_a_link_expires(guarded: Inside, job: int) -> None:
    def answer(until: int) -> int:
        signature = guarded.context.guard.sign("file", str(job), str(until))
        return guarded.get(f"/files/{job}", params={"until": until, "signature": signature}).status_code

    assert answer(1_000_000_000) == answer(int(time.time()) - 1) == 410
    assert answer(int(time.time()) + 60) == 200


@pytest.mark.parametrize(
    "query", ["", "?until=1", "?signature=a", "?until=-1&signature=a", "?until=soon&signature=a", f"?until={10**13}"]
)
def test_half_a_link_is_none(guarded: Inside, job: int, query: str) -> None:
    assert guarded.get(f"/files/{job}{query}").status_code == 422


def test_the_signature_of_anything_else_opens_no_file(guarded: Inside, job: int) -> None:
    until = str(int(time.time()) + 60)
    for parts in (("session", until), ("form", str(job), until), ("file", until)):
        signature = guarded.context.guard.sign(*parts)
        assert guarded.get(f"/files/{job}", params={"until": until, "signature": signature}).status_code == 403


def test_a_link_to_a_file_that_is_gone_says_so(guarded: Inside, job: int, sql: Queries, tmp_path: Path) -> None:
    link = made(guarded, job)
    sql("UPDATE tksva_q.job SET purged_at = now()")
    assert guarded.get(link).status_code == 410
    assert guarded.get(made(guarded, job + 1)).status_code == 404
