"""The pages for people: what they show, where their buttons lead. Without the script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import jinja2
import pytest

from tests.database import Queries
from tests.web.inside import Inside
from tests.web.reading import BEARER, press, put, text
from tests.web.server import TOKEN, form_token
from web import choices, pages
from words import STATE_NAMES


def without_ages(page: str) -> str:
    """What is on a page however long ago it was drawn."""
    return re.sub(r"старшее ждёт .*? с", "", page)


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_whatever_is_put_into_a_page_is_text() -> None:
    page = pages.render("message.html", status=404, text="<script>alert(1)</script>", path='"><b>')
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert '"><b>' not in page


def test_a_page_that_lacks_something_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(jinja2.UndefinedError):
        pages.render("message.html", status=404, path="/")


def test_every_field_has_a_word_in_russian() -> None:
    assert set(pages.TITLES) == {
        *(form.name for form in choices.FORMS),
        *(form.field for form in choices.FORMS),
        *("start_date", "finish_date"),
    }


def test_the_description_of_a_path_names_the_fields_of_its_own_body(start_inside: Callable[..., Inside]) -> None:
    page = text(start_inside(integrations="parsers").get("/docs"))
    new_source = page.partition("POST /api/v1/source/ ")[2].partition("Ответы")[0]
    assert "name — обязательно" in new_source
    assert "file_name" not in new_source
    assert "file_name" in page.partition("POST /api/jobs ")[2].partition("Ответы")[0]


def test_a_body_is_described_by_its_name_or_where_it_stands() -> None:
    named, inline = {"required": ["a"]}, {"properties": {"b": {}}}
    spec = {"components": {"schemas": {"Named": named}}}
    for schema, found in (({"$ref": "#/components/schemas/Named"}, named), (inline, inline)):
        operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        assert pages.body(operation, spec) == found
    assert pages.body({"requestBody": {"content": {"text/plain": {}}}}, spec) == {}


# --- looking ----------------------------------------------------------------------------------------------------------


def test_an_empty_queue_says_so(inside: Inside) -> None:
    page = text(inside.get("/"))
    assert "Сейчас ничего не выполняется." in page
    assert "Очередь не работает." in page
    assert text(inside.get("/jobs")).endswith("Таких заданий нет.")


def test_the_first_page_shows_what_runs_waits_failed_and_is_done(inside: Inside, sql: Queries) -> None:
    put(sql, "running", file_name="идёт.csv", rows=250, total=1000, attempt=2)
    put(sql, "waiting", file_name="ждёт.csv")
    put(sql, "failed", file_name="нет.csv", error="причина такая", attempt=3)
    put(sql, "done", file_name="готов.csv", rows=1234, bytes=12_345_678)
    page = text(inside.get("/"))
    for words in (
        "идёт.csv № 1, пользователь 1, попытка 2 250 из 1 000",
        "ждёт.csv № 2",
        "3 попытки причина такая",
        "1 234 строки · 12,3 МБ",
    ):
        assert words in page
    live = text(inside.get("/live"))
    assert without_ages(live) in without_ages(page)


def test_each_browser_gets_a_token_of_its_own_in_the_one_drawing(inside: Inside, sql: Queries) -> None:
    put(sql, "waiting")
    first = inside.get("/")
    inside._client.cookies.clear()
    second = inside.get("/")
    assert form_token(first.text) != form_token(second.text)
    assert len(set(re.findall(r'name="token" value="([^"]+)"', second.text))) == 1
    assert second.headers["cache-control"] == "no-store"
    cookie = second.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # over HTTP the browser would not send it back


def test_a_list_shows_one_state_and_leads_on(inside: Inside, sql: Queries) -> None:
    sql("INSERT INTO tksva_q.job (form, file_name, user_id) SELECT 'f', n || '.csv', 1 FROM generate_series(1, 51) n")
    put(sql, "failed", file_name="нет.csv", error="причина")
    newest, oldest = inside.get("/jobs?state=waiting"), inside.get("/jobs?state=waiting&page=2")
    assert newest.text.count("<article") == 50
    assert re.search(r'rel="next" href="/jobs\?state=waiting&(amp;)?page=2"', newest.text)
    assert re.search(r'rel="prev" href="/jobs\?state=waiting&(amp;)?page=1"', oldest.text)
    assert oldest.text.count("<article") == 1
    assert "1.csv" in text(oldest)
    assert "нет.csv" not in newest.text
    assert "причина" in text(inside.get("/jobs?state=failed"))
    assert [inside.get(f"/jobs?{query}").status_code for query in ("state=lost", "page=0", "page=1001")] == [422] * 3


@pytest.mark.parametrize(
    ("state", "columns", "there", "absent"),
    [
        ("waiting", {}, ["/cancel"], ["/retry", "/file"]),
        ("running", {"attempt": 1}, ["/cancel"], ["/retry", "/file"]),
        ("running", {"attempt": 1, "cancel": True}, [], ["/cancel", "/retry", "/file"]),
        ("failed", {"error": "нет"}, ["/retry"], ["/cancel", "/file"]),
        ("cancelled", {}, ["/retry"], ["/cancel", "/file"]),
        ("done", {}, ["/file"], ["/cancel", "/retry"]),
        ("done", {"user_id": None}, [], ["/cancel", "/retry", "/file"]),
    ],
)
def test_a_job_offers_what_can_be_done_with_it(  # noqa: PLR0913, PLR0917 -- a row of the table
    inside: Inside, sql: Queries, state: str, columns: dict[str, object], there: list[str], absent: list[str]
) -> None:
    job = put(sql, state, **columns)
    page = inside.get(f"/jobs/{job}").text
    addresses = re.findall(rf'(?:action|href)="(?:/api)?/jobs/{job}(/\w+)"', page)
    assert sorted(addresses) == there
    assert not set(addresses) & set(absent)


def test_a_job_is_shown_with_its_attempts_conditions_and_speed(inside: Inside, sql: Queries) -> None:
    job = put(sql, "done", rows=200, total=200, params='{"station_name": "<b>", "start_date": "2024-01-01", "x": [1]}')
    sql(
        "INSERT INTO tksva_q.attempt (job_id, attempt, worker, host, slot, outcome, reason, rows_before, rows_after,"
        " started_at, finished_at) VALUES (%s, 1, gen_random_uuid(), 'узел boot', 0, 'retry', 'нет связи', 0, 100,"
        " now() - interval '75 s', now())",
        job,
    )
    sql(
        "INSERT INTO tksva_q.page (job_id, attempt, page, rows, bytes, seconds)"
        " SELECT %s, 1, n, 100, 1000, '{\"page\": 0.5}' FROM generate_series(1, 2) n",
        job,
    )
    answer = inside.get(f"/jobs/{job}")
    page = text(answer)
    assert "Станция отправления &lt;b&gt; С 2024-01-01 x [1]" in page
    assert "1 мин 15 с 0 → 100 будет повтор нет связи узел, место 1" in page
    assert "2 страницы, в среднем 200 строк/с" in page
    assert answer.text.count('<rect class="run"') == 2


def test_conditions_that_are_no_fields_are_shown_as_their_text(inside: Inside, sql: Queries) -> None:
    for params in ('[1, "a"]', '{"a": 1e999}', '"\\ud83d"', "7"):
        page = text(inside.get(f"/jobs/{put(sql, 'waiting', params=params)}"))
        assert f"Условия {params}".replace('"', "&#34;") in page


def test_a_job_that_is_not_there_is_a_page_that_says_so(inside: Inside) -> None:
    answer = inside.get("/jobs/7", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "такого задания нет" in text(answer)
    assert inside.get("/jobs/0").status_code == inside.get(f"/jobs/{2**63}").status_code == 422


# --- doing ------------------------------------------------------------------------------------------------------------


def test_a_button_leads_back_to_where_it_was(inside: Inside, sql: Queries) -> None:
    job = put(sql, "failed", params=json.dumps({}), error="нет")
    assert press(inside, f"/jobs/{job}/retry").headers["location"] == "/"
    assert sql.value("SELECT state FROM tksva_q.job") == "waiting"
    token = form_token(inside.get(f"/jobs/{job}").text)
    referer = {"Referer": f"http://localhost/jobs/{job}"}
    answer = inside.post(f"/jobs/{job}/cancel", data={"token": token}, headers=referer)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}")
    assert sql.value("SELECT state FROM tksva_q.job") == "cancelled"


def test_every_failed_job_is_retried_at_once_and_the_page_shows_it(inside: Inside, sql: Queries) -> None:
    for _ in range(3):
        put(sql, "failed", error="нет")
    assert "Не получилось" in text(inside.get("/"))
    assert press(inside, "/jobs/retry").status_code == 303
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("waiting",)]
    assert "Не получилось" not in text(inside.get("/"))


def test_a_job_that_has_ended_meanwhile_is_not_cancelled(inside: Inside, sql: Queries) -> None:
    job = put(sql, "waiting")
    token = form_token(inside.get("/").text)
    sql("UPDATE tksva_q.job SET state = 'done', finished_at = now()")
    answer = inside.post(f"/jobs/{job}/cancel", data={"token": token}, headers={"Accept": "text/html"})
    assert answer.status_code == 409
    assert f"а это — {STATE_NAMES['done']}" in text(answer)


def test_whoever_logs_in_gets_a_session_and_loses_it_again(start_inside: Callable[..., Inside]) -> None:
    inside = start_inside(api_token=TOKEN)
    assert "Войти" in text(inside.get("/"))
    assert inside.get("/login").status_code == 401
    answer = inside.get("/login", headers=BEARER)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    page = inside.get("/")
    assert "Выйти" in text(page)
    inside.post("/logout", data={"token": form_token(page.text)})
    assert "Войти" in text(inside.get("/"))


def test_where_no_token_is_asked_for_nobody_needs_to_log_in(inside: Inside) -> None:
    assert "Войти" not in text(inside.get("/"))
    assert "set-cookie" not in inside.get("/login").headers
