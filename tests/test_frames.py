"""Files from what a form computes: frames, many of them, or a workbook; complete or not there at all."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal

import openpyxl
import pandas as pd
import pytest

from errors import Interrupted, UserError
from frames import Result, prepare
from tests.daemons import Daemon
from tests.database import Queries
from tests.exporting import Bench, bench

__all__ = ["bench"]


def frame(rows: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Станция; имя": ["Тайшет", None, "=1+1"] + ["Лена"] * (rows - 3),
            "Штук": range(rows),
            "Доля": [0.5, None, 0.30000000000000004] + [1.0] * (rows - 3),
            "Сумма": [Decimal("1.10"), Decimal("2"), None] + [Decimal(1)] * (rows - 3),
            "Дата": [datetime.date(2024, 2, 29), None, datetime.date(2024, 3, 1)] + [None] * (rows - 3),
            "Когда": pd.to_datetime(["2024-02-29 12:30", None, "2024-03-01 00:00"] + [None] * (rows - 3)),
            "Порожний": [True, False, True] + [False] * (rows - 3),
        }
    )


def make(bench: Bench, name: str, result: Result) -> None:
    bench.submit(name)
    job = bench.claim()
    prepare(bench.task(job), result)
    bench.finish(job)


def test_a_frame_becomes_csv(bench: Bench) -> None:
    make(bench, "a.csv", frame())
    assert bench.file("a.csv").read_text("utf-8-sig").splitlines() == [
        '"Станция; имя";Штук;Доля;Сумма;Дата;Когда;Порожний',
        "Тайшет;0;0.5;1.10;2024-02-29;2024-02-29 12:30:00;t",
        ";1;;2;;;f",
        "=1+1;2;0.30000000000000004;;2024-03-01;2024-03-01 00:00:00;t",
    ]


def test_a_frame_becomes_xlsx_with_real_values(bench: Bench) -> None:
    make(bench, "a.xlsx", frame())
    sheet = openpyxl.load_workbook(bench.file("a.xlsx")).active
    assert sheet is not None
    assert [cell.value for cell in sheet[2]] == [
        "Тайшет",
        0,
        0.5,
        1.1,
        datetime.datetime(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, 30),
        True,
    ]
    assert sheet["A4"].value == "=1+1"
    assert sheet["A4"].data_type != "f"


def test_an_iterator_is_written_frame_by_frame(bench: Bench, sql: Queries) -> None:
    seen = []

    def frames() -> Iterator[pd.DataFrame]:
        for _ in range(3):
            yield frame(10)
            seen.append(sql.value("SELECT rows FROM tksva_q.job"))

    make(bench, "a.csv", frames())
    assert seen == [10, 20, 30]
    assert len(bench.file("a.csv").read_text("utf-8-sig").splitlines()) == 31


def test_a_workbook_is_saved_as_it_was_formatted(bench: Bench) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(["Итог"])
    sheet.append([42])
    sheet["A1"].font = openpyxl.styles.Font(italic=True)
    make(bench, "a.xlsx", workbook)
    read = openpyxl.load_workbook(bench.file("a.xlsx")).active
    assert read is not None
    assert (read["A2"].value, read["A1"].font.i) == (42, True)
    with pytest.raises(UserError, match="xlsx"):
        make(bench, "a.csv", workbook)


def test_an_empty_frame_is_a_header(bench: Bench) -> None:
    make(bench, "a.csv", frame().iloc[:0])
    assert len(bench.file("a.csv").read_text("utf-8-sig").splitlines()) == 1


@pytest.mark.parametrize("frames", [[], [frame(), frame().drop(columns="Штук")]])
def test_frames_that_do_not_fit_leave_nothing_behind(bench: Bench, frames: list[pd.DataFrame]) -> None:
    bench.submit("a.csv")
    with pytest.raises(ValueError, match="frame"):
        prepare(bench.task(bench.claim()), iter(frames))
    assert [path for path in bench.settings.files_dir.rglob("*") if path.is_file()] == []


def test_a_worker_that_stops_leaves_the_job_for_another_beginning(bench: Bench) -> None:
    bench.submit("a.xlsx")
    first = bench.claim()
    with pytest.raises(Interrupted):
        prepare(bench.task(first, pages=1), iter([frame(), frame()]))
    assert bench.left_over() == []
    bench.give_back(first)
    prepare(bench.task(bench.claim()), iter([frame(), frame()]))
    assert bench.file("a.xlsx").exists()


def test_a_computed_form_serves_a_row_of_the_web_ui(start_daemon: Callable[..., Daemon], sql: Queries) -> None:
    daemon = start_daemon(integrations="testing")
    days = {"start_date": "2024-02-28", "finish_date": "2024-03-01"}
    good = sql.post("дни.csv", form="DaysForm", conditions=days)
    bad = sql.post("дни.csv", form="DaysForm", conditions=days | {"finish_date": "вчера"})
    sql.await_status(bad, "ошибка")
    sql.await_status(good, "файл подготовлен")
    assert daemon.file("дни.csv").read_text("utf-8-sig").splitlines() == [
        "День",
        "2024-02-28 00:00:00",
        "2024-02-29 00:00:00",
        "2024-03-01 00:00:00",
    ]
