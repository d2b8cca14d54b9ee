"""The page of the timers, by its HTML and in a browser."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

import timetable
from db import Database
from integrations.timers import definitions, journal, pages, watch
from integrations.timers.journal import Run
from tests.database import Queries
from tests.timers.conftest import START, Define, ended, fence
from tests.web.server import TOKEN, Web, form_token
from web.charts import WIDTH

TWO = """
[timers.one]
job = "loader"
command = ["one"]
cron = "*/15 * * * *"
time_limit = 300
[timers.two]
job = "other"
command = ["two"]
cron = "0 0 * * *"
time_limit = 600
enabled = false
"""
HOUR = datetime.timedelta(hours=1)
HTML = {"Accept": "text/html"}


@pytest.fixture
def web(define: Define, queue: Database, start_web: Callable[..., Web]) -> Web:
    """The web process with two timers, one of which has run well and then failed."""
    define(TWO)
    job = timetable.start(queue, definitions.load().schedule("one"))
    with queue.transaction() as cursor:
        cursor.execute(
            "UPDATE tksva_q.job SET state = 'failed', error = 'код выхода 3', finished_at = now(),"
            " started_at = now() - interval '95 s' WHERE id = %s",
            (job,),
        )
    ended(queue, "success", timer="one", rows=12_345)
    made = ended(queue, "error", "код выхода 3", timer="one")
    with queue.transaction() as cursor:
        cursor.execute("UPDATE tksva_q.timer_run SET output = '<b>нет связи</b>' WHERE job_id = %s", (made.job_id,))
    watch.look(queue)
    return start_web(integrations="timers")


def test_the_page_shows_schedules_runs_output_alerts_and_the_day(page: Page, web: Web, sql: Queries) -> None:
    page.goto(f"{web.url}/timers")
    one = page.get_by_role("row", name=re.compile("^one"))
    cells = [" ".join(text.split()) for text in one.locator("th, td").all_text_contents()]
    assert (cells[0], cells[3], cells[4]) == ("one", "1 мин 35 с", "ошибка")
    assert all(re.search(r"\d\d:\d\d", moment) for moment in cells[1:3]), cells
    expect(page.get_by_role("row", name=re.compile("^two"))).to_contain_text("выключен")

    run = page.locator("details").first
    expect(run.locator("pre")).to_be_hidden()
    run.locator("summary").click()
    expect(run.locator("pre")).to_have_text("<b>нет связи</b>")
    expect(run.locator(".reason")).to_have_text("код выхода 3")
    expect(page.locator("details").nth(1)).to_contain_text("успех, строк 12")

    bars = page.locator("figure svg rect")
    expect(bars).to_have_count(2)
    box = bars.first.bounding_box()
    frame = page.locator("figure svg").bounding_box()
    assert box and frame
    assert box["x"] > frame["x"] + frame["width"] * 0.9  # a moment ago: at the right end of the day

    alert = page.locator("section", has=page.locator("#h-alerts"))
    expect(alert).to_contain_text("Таймер one: запуск закончился ошибкой")
    page.get_by_role("button", name="подтвердить: Таймер one").click()
    expect(alert).to_contain_text("подтверждено")
    expect(page.get_by_role("button", name=re.compile("подтвердить"))).to_have_count(0)
    assert sql("SELECT acknowledged, acknowledged_by FROM zakaz.alerts") == [(True, "страница")]


def test_an_acknowledgement_needs_the_forms_token_and_the_key(
    define: Define, queue: Database, start_web: Callable[..., Web], sql: Queries
) -> None:
    define(TWO)
    ended(queue, "error", timer="one")
    watch.look(queue)
    alert = sql.value("SELECT alert_id FROM zakaz.alerts")
    url = f"/timers/alerts/{alert}/acknowledge"
    with start_web(integrations="timers", api_token=TOKEN).client() as client:
        assert client.post(url, data={"token": ""}).status_code in {401, 403}
        known = httpx.BasicAuth("admin", TOKEN)
        token = form_token(client.get("/timers", headers=HTML, auth=known).text)
        assert client.post(url, data={"token": "wrong"}, auth=known).status_code == 403
        for number in (0, 10**20):
            path = f"/timers/alerts/{number}/acknowledge"
            assert client.post(path, data={"token": token}, auth=known).status_code == 422
        assert sql.value("SELECT acknowledged FROM zakaz.alerts") is False
        answer = client.post(url, data={"token": token}, auth=known)
        assert (answer.status_code, answer.headers["location"]) == (303, "/timers")
    assert sql.value("SELECT acknowledged FROM zakaz.alerts") is True


def test_runs_are_told_by_machine_of_one_timer_or_of_all(web: Web) -> None:
    with web.client() as client:
        last, first = client.get("/api/timers/runs").json()
        assert client.get("/api/timers/runs", params={"timer": "two"}).json() == []
        assert client.get("/api/timers/runs?timer=%00").status_code == 422
    assert (last["timer"], last["status"], last["message"]) == ("one", "error", "код выхода 3")
    assert (first["status"], first["rows"], first["job"]) == ("success", 12_345, "one_loader")
    assert datetime.datetime.fromisoformat(last["started_at"]) > datetime.datetime.fromisoformat(first["started_at"])


def test_a_page_of_definitions_that_make_no_sense_says_what_is_wrong(web: Web, define: Define) -> None:
    define(TWO.replace("0 0 * *", "0 25 * *"))
    with web.client() as client:
        answer = client.get("/timers", headers=HTML)
    assert answer.status_code == 422
    assert "timers.two.cron: cron" in answer.text


def test_a_page_without_runs_and_alerts_says_so(define: Define, queue: Database, start_web: Callable[..., Web]) -> None:
    define(TWO)
    with queue.transaction() as cursor:
        assert journal.last_runs(cursor) == []
    with start_web(integrations="timers").client() as client:
        text = client.get("/timers", headers=HTML).text
    assert "Запусков ещё не было." in text
    assert "Оповещений нет." in text


def test_the_picture_of_a_day_has_a_bar_for_each_run_where_it_was() -> None:
    def run(timer: str, begin: float, end: float | None, status: str) -> Run:
        finished = None if end is None else START + end * HOUR
        return Run(timer, fence().job_id, 1, "loader", START + begin * HOUR, finished, None, status, "м", "")  # type: ignore[arg-type]

    runs = [
        run("one", -30, -18, "success"),  # began before the day
        run("two", -12, -11.999, "error"),  # a moment is still to be seen
        run("two", -6, None, "running"),
        run("gone", -3, -2, "success"),  # no longer defined
    ]
    bars = pages.gantt(runs, ["one", "two"], START)
    hour = WIDTH / 24
    assert [(bar.x, bar.kind) for bar in bars] == [(0, "ok"), (12 * hour, "bad"), (18 * hour, "run")]
    assert [bar.width for bar in bars] == pytest.approx([6 * hour, 2, 6 * hour])
    assert bars[0].y < pages.LINE < bars[1].y == bars[2].y
    assert "two" in bars[1].text
    assert "идёт" in bars[2].text
