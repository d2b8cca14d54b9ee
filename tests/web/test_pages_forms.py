"""The two forms of the page: where they stand, what they answer. Without the script."""

from __future__ import annotations

import re

import pytest

from tests.database import Queries
from tests.web.inside import Inside
from tests.web.reading import press, put, text

FILLED = {
    "form": "DownloadForStationForm",
    "place": "Тайшет",
    "start_date": "2024-01-01",
    "finish_date": "2024-12-31",
    "extension": "xlsx",
}


def test_the_forms_stand_on_the_embedded_default_alone(embedded: Inside, inside: Inside) -> None:
    page = embedded.get("/")
    assert "Новая выгрузка" in text(page)
    assert re.search(r"<option>\s*Чита &#34;1&#34;", page.text)
    assert 'value="2024-02-29"' in page.text
    assert "Новая выгрузка" not in text(inside.get("/"))


def test_a_filled_form_becomes_a_job(embedded: Inside, sql: Queries) -> None:
    answer = press(embedded, "/jobs", **FILLED)
    assert (answer.status_code, answer.headers["location"]) == (303, "/#live")
    assert sql("SELECT form, file_name, user_id, params->>'station_name' FROM tksva_q.job") == [
        ("DownloadForStationForm", "Тайшет 2024-01-01 — 2024-12-31.xlsx", 1, "Тайшет")
    ]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"finish_date": "2023-01-01"}, "finish_date"),
        ({"place": ""}, "station_name"),
        ({"extension": "exe"}, "формат — csv или xlsx"),
    ],
)
def test_a_wrong_form_comes_back_as_it_was_filled_with_what_is_wrong(
    embedded: Inside, sql: Queries, changed: dict[str, str], complaint: str
) -> None:
    answer = press(embedded, "/jobs", **FILLED | changed)
    assert answer.status_code == 422
    assert complaint in text(answer)
    assert f'value="{FILLED["start_date"]}"' in answer.text
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_a_form_that_the_page_does_not_have_is_refused(embedded: Inside, sql: Queries) -> None:
    answer = press(embedded, "/jobs", **FILLED | {"form": "Nonsense"})
    assert answer.status_code == 422
    assert "такой формы нет" in text(answer)
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_the_rows_of_a_form_are_counted_with_and_without_the_script(embedded: Inside, sql: Queries) -> None:
    answer = press(embedded, "/jobs", wish="estimate", **FILLED)
    assert answer.status_code == 200
    assert "В файле будет: 1 000 строк" in text(answer)
    line = embedded.get("/estimate", params=FILLED)
    assert (line.status_code, text(line)) == (200, "1 000 строк")
    assert line.headers["content-type"].startswith("text/plain")
    wrong = embedded.get("/estimate", params=FILLED | {"finish_date": "вчера"})
    assert wrong.status_code == 422
    assert "finish_date" in wrong.text
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 0


def test_where_the_web_ui_has_the_forms_there_are_none_here(inside: Inside, sql: Queries) -> None:
    put(sql, "failed", error="нет")
    answer = press(inside, "/jobs", **FILLED)
    assert answer.status_code == 404
    assert "здесь формы заполняют в веб-интерфейсе" in text(answer)
    assert inside.get("/estimate", params=FILLED).status_code == 404
    assert sql.value("SELECT count(*) FROM tksva_q.job") == 1
