"""What the command line shows: words and figures, tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console, RenderableType

import listing
from findings import Finding
from jobs import State
from reports import JobPage, TableRow
from tests.records import BEGAN, attempt, detail, export_page, job_row, later, status, worker_row
from words import NARROWLY, THIN


def shown(view: RenderableType, *, colours: bool = False) -> str:
    """What a screen of the usual width would show; with colours as tags of their escape codes."""
    console = Console(file=io.StringIO(), width=listing.WIDTH, highlight=False, force_terminal=colours)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace(NARROWLY, " ").replace(THIN, " ")


def words(view: RenderableType) -> list[list[str]]:
    """The lines, cut where a column ends."""
    return [re.split(r" {2,}", line.strip()) for line in shown(view).splitlines()]


# --- states ------------------------------------------------------------------------------------------------


def test_every_state_has_a_colour() -> None:
    assert set(listing._STYLES) == set(get_args(State))


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_records_become_json_with_their_fields_as_names(capsys: pytest.CaptureFixture[str]) -> None:
    listing.print_json([Finding("папка", True, "есть"), {"at": BEGAN, "where": Path("/a/б")}])
    out = capsys.readouterr().out
    assert "папка" in out
    assert json.loads(out) == [
        {"name": "папка", "ok": True, "text": "есть"},
        {"at": "2024-01-31T12:00:00+00:00", "where": "/a/б"},
    ]
    listing.print_json(detail(job_row(error=None), attempts=(attempt(),)))
    found = json.loads(capsys.readouterr().out)
    assert (found["job"]["id"], found["job"]["error"], found["attempts"][0]["host"]) == (7, None, "узел")


def test_what_has_no_place_in_json_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TypeError, match="set does not go into JSON"):
        listing.print_json({"a": {1, 2}})


# --- the queue at a glance --------------------------------------------------------------------------------------------


def test_an_empty_queue_is_all_noughts_and_shows_no_bars() -> None:
    assert words(listing.status_view(status())) == [
        ["Ждут", "0"],
        ["Выполняются", "0"],
        ["С ошибкой", "0"],
        ["Последний оборот", "0,4 с назад (узел, процесс 41)"],
    ]


def test_what_waits_is_told_with_what_cannot_start_yet() -> None:
    lines = words(listing.status_view(status(waiting=5, paused=2, oldest_waiting_seconds=90, incoming=3)))
    assert lines[0] == ["Ждут", "5, из них 2 до следующей попытки; старшее ждёт 1 мин 30 с"]
    assert lines[1][:2] == ["Не приняты", "3 (строки post, которых очередь ещё не видела)"]


@pytest.mark.parametrize(
    "changed",
    [
        {"workers": (), "last_loop_seconds": None},
        {"workers": (worker_row(alive=False),)},
        {"last_loop_seconds": None},
    ],
)
def test_a_queue_without_a_living_loop_is_said_not_to_work(changed: dict[str, object]) -> None:
    assert "очередь не работает (systemctl start tksva_q)" in shown(listing.status_view(status(**changed)))


def test_a_dead_queue_manager_is_not_named_beside_the_living() -> None:
    workers = (worker_row(), worker_row(host="мёртвый", pid=42, alive=False), worker_row(host="второй", pid=43))
    text = shown(listing.status_view(status(workers=workers)))
    assert "(узел, процесс 41, второй, процесс 43)" in text
    assert "мёртвый" not in text


def test_a_loop_that_was_not_heard_of_for_long_is_red() -> None:
    red = "\x1b[31m"
    assert red not in shown(listing.status_view(status(last_loop_seconds=listing.SILENT - 1)), colours=True)
    assert red in shown(listing.status_view(status(last_loop_seconds=listing.SILENT + 1)), colours=True)


def test_a_table_is_named_only_while_the_inspector_wants_it() -> None:
    quiet = TableRow("audit.a", wants_to_refresh=False, gives_information=True, refresh_seconds=5)
    wanted = TableRow("audit.b\x1b", wants_to_refresh=True, gives_information=False, refresh_seconds=300)
    never = TableRow("audit.c", wants_to_refresh=True, gives_information=False, refresh_seconds=None)
    text = shown(listing.status_view(status(tables=(quiet, wanted, never))))
    assert "audit.a" not in text
    assert "audit.b\\u001b обновляется Инспектором уже 5 мин 00 с: её задания ждут" in text
    assert "audit.c обновляется Инспектором: её задания ждут" in text


def test_a_bar_shows_how_far_how_fast_and_how_long_still() -> None:
    running = (job_row(), job_row(id=8, user_id=None, file_name=None, rows=3, total=None, attempt=2))
    moving, counting = shown(listing.status_view(status(running=running), {7: 1000.4})).splitlines()[-2:]
    assert re.fullmatch(r"7 +1 +отчёт\.csv +[━╸]+ +50% +500 из 1 000 +1 000 +0,5 с +1 *", moving.strip())
    assert re.fullmatch(r"8 +DownloadForStationForm +0% +3 +2 *", re.sub("[━╺╸]", "", counting).strip())


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_says_how_to_see_more_only_where_there_is_more() -> None:
    assert words(listing.jobs_view(JobPage((job_row(),), 3, more=True)))[-1] == ["Дальше: --page 4"]
    assert "--page" not in shown(listing.jobs_view(JobPage((job_row(),), 3, more=False)))
    assert words(listing.jobs_view(JobPage((), 1, more=False))) == [["Таких заданий нет."]]


def test_a_running_job_that_is_asked_to_stop_is_told_from_one_that_was() -> None:
    def state(**changed: object) -> str:
        return words(listing.jobs_view(JobPage((job_row(**changed),), 1, more=False)))[1][2]

    assert state(cancel=True) == "выполняется (просят отменить)"
    assert state(cancel=True, state="cancelled") == "отменено"
    assert state() == "выполняется"


def test_a_long_reason_is_never_cut() -> None:
    reason = "причина " * 60
    text = shown(listing.jobs_view(JobPage((job_row(state="failed", error=reason),), 1, more=False)))
    assert text.count("причина") == 60
    assert "…" not in text


def test_markup_in_a_name_is_text() -> None:
    text = shown(listing.jobs_view(JobPage((job_row(file_name="[red]a[/red].csv", form="[/]"),), 1, more=False)))
    assert "[red]a[/red].csv" in text
    assert "[/]" in text


# --- one job ----------------------------------------------------------------------------------------------------------


def test_of_a_job_only_what_is_known_is_shown() -> None:
    lines = words(listing.job_view(detail(job_row(post_id=None, file_name=None, bytes=0, total=None))))
    assert [line[0] for line in lines] == [
        *("Задание", "Чьё", "Форма", "Состояние", "Поставлено", "Начато", "Попыток не было."),
    ]


def test_the_time_before_which_a_job_does_not_start_is_shown_while_it_waits() -> None:
    assert "Не раньше" in shown(listing.job_view(detail(job_row(state="waiting"))))
    assert "Не раньше" not in shown(listing.job_view(detail(job_row(state="running"))))


def test_times_are_this_machines_own() -> None:
    aware = datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert listing._time(aware) == f"{aware.astimezone():%d.%m.%Y %H:%M:%S}"
    assert listing._time(datetime(2024, 1, 31, 12)) == "31.01.2024 12:00:00"
    assert listing._time(None) == ""


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ('{"station_name": "\\u0422\\u0430\\u0439\\u0448\\u0435\\u0442"}', '{"station_name": "Тайшет"}'),
        ("not JSON", "not JSON"),
        ('"\\ud83d"', '"\\ud83d"'),
        ("[" * 100_000, "[" * 100),
        ('"\\u001b[2J"', '"\\u001b[2J"'),
    ],
)
def test_conditions_are_shown_with_letters_for_their_numbers(params: str, text: str) -> None:
    found = shown(listing.job_view(detail(params=params)))
    assert text in "".join(line.strip() for line in found.splitlines())


def test_an_attempt_is_told_with_its_length_its_end_and_what_it_added() -> None:
    attempts = (
        attempt(outcome="retry", reason="хранилище\nнедоступно", finished_at=later(75), rows_after=1500),
        attempt(number=2, outcome=None, host=None, rows_before=1500),
        attempt(number=3, outcome="given back", rows_before=2),
    )
    lines = words(listing.job_view(detail(attempts=attempts)))
    assert lines[-4] == ["№", "Начата", "Шла", "Узел", "Итог", "Строк до", "после", "Причина"]
    assert lines[-3][2:] == ["1 мин 15 с", "узел", "будет повтор", "0", "1 500", "хранилище\\nнедоступно"]
    assert lines[-2][2:] == ["идёт", "1 500"]
    assert lines[-1][2:] == ["узел", "возвращено в очередь", "2"]


def test_pages_are_told_with_each_step_and_the_sums_of_all() -> None:
    pages = (export_page(2, 100, 2.0), export_page(3, 50, steps={"page": 1.0, "write": 0.25}))
    made = detail(pages=pages, page_count=3, seconds={"fetch": 1.5, "page": 4.0, "write": 0.25})
    lines = words(listing.job_view(made))
    assert lines[-5] == ["Страницы: 2 последних из 3, секунды"]
    assert lines[-4] == ["попытка", "№", "строк", "байт", "вся", "fetch", "write"]
    assert lines[-3] == ["1", "2", "100", "1 000", "2.000", "1.000", "0.000"]
    assert lines[-2] == ["1", "3", "50", "500", "1.000", "0.000", "0.250"]
    assert lines[-1] == ["все", "4.000", "1.500", "0.250"]


# --- the doctor -------------------------------------------------------------------------------------------------------


def test_a_finding_is_a_line_that_says_ok_or_not() -> None:
    found = [Finding("папка", True, "есть"), Finding("веб-сервер", False, "sudo chgrp [x]")]
    assert words(listing.findings_view(found)) == [["папка", "ok", "есть"], ["веб-сервер", "плохо", "sudo chgrp [x]"]]


# --- the console ------------------------------------------------------------------------------------------------------


def test_what_goes_to_a_program_is_as_wide_as_it_need_be(capsys: pytest.CaptureFixture[str]) -> None:
    listing.console().print(listing.findings_view([Finding("a", True, "слово " * 25)]))
    listing.console(stderr=True).print("жалоба")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == "жалоба\n"
