"""Files from what a form computes: frames, many of them, or a workbook; complete or not there at all."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal

import numpy as np
import openpyxl
import pandas as pd
import pytest

from errors import Interrupted, UserError
from frames import Result, prepare
from tests.daemons import Daemon
from tests.database import Queries
from tests.exporting import Bench, bench
from tests.workbooks import by_calamine, by_openpyxl

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


# --- columns of objects -----------------------------------------------------------------------------------------------


def scalars() -> pd.DataFrame:
    """What a row-wise computation leaves behind: numpy's own scalars, in columns that are no arrays of numpy's."""
    return pd.DataFrame(
        {
            "Доля": [np.float64(2.0), np.float32(0.5), np.float64("nan"), np.longdouble(1e20)],
            "Штук": [np.int64(5), None, np.uint8(7), 8],
            "Порожний": [np.True_, np.False_, None, True],
            "Имя": [np.str_("Лена"), None, "=1", np.bytes_(b"\x01")],
            "Когда": [np.datetime64("2024-02-29T12:30", "ns"), None, np.datetime64("2024-03-01"), pd.NaT],
            "Идёт": [np.timedelta64(90, "s"), None, pd.Timedelta(days=1), np.timedelta64("NaT")],
        },
        dtype=object,
    ).assign(Редкий=pd.arrays.SparseArray([1, 0, 0, 2]))


def test_scalars_of_numpy_are_numbers_in_csv(bench: Bench) -> None:
    make(bench, "a.csv", scalars())
    assert bench.file("a.csv").read_text("utf-8-sig").splitlines()[1:] == [
        "2;5;t;Лена;2024-02-29 12:30:00;00:01:30;1",
        "0.5;;f;;;;0",
        ";7;;=1;2024-03-01 00:00:00;1 day;0",
        "1e+20;8;t;\\x01;;;2",
    ]


def test_scalars_of_numpy_are_real_values_in_xlsx(bench: Bench) -> None:
    make(bench, "a.xlsx", scalars())
    rows = by_openpyxl(bench.file("a.xlsx").read_bytes())[1:]
    assert rows[0] == [2, 5, True, "Лена", datetime.datetime(2024, 2, 29, 12, 30), "00:01:30", 1]
    assert [row[:3] for row in rows[1:]] == [[0.5, None, False], [None, 7, None], [1e20, 8, True]]
    assert [row[:3] for row in by_calamine(bench.file("a.xlsx").read_bytes())[1:]] == [
        [2, 5, True],
        [0.5, "", False],
        ["", 7, ""],
        [1e20, 8, True],
    ]


def test_numbers_beside_truths_are_read_back_all_the_same(bench: Bench) -> None:
    mixed = pd.DataFrame({"Порожний": pd.Series([True, None], dtype=object)}), pd.DataFrame({"Порожний": [np.int64(2)]})
    make(bench, "a.xlsx", iter(mixed))
    content = bench.file("a.xlsx").read_bytes()
    assert by_openpyxl(content) == [["Порожний"], [True], [None], ["2"]]
    assert by_calamine(content) == [["Порожний"], [True], [""], ["2"]]


# --- workbooks that only write ----------------------------------------------------------------------------------------


def test_a_workbook_that_only_writes_is_counted_as_well(bench: Bench, sql: Queries) -> None:
    workbook = openpyxl.Workbook(write_only=True)
    for name, rows in (("Итог", 3), ("Пусто", 0), ("<row ", 2)):
        sheet = workbook.create_sheet()
        for number in range(rows):
            sheet.append([f"{name}{number}"])
    make(bench, "a.xlsx", workbook)
    assert by_openpyxl(bench.file("a.xlsx").read_bytes(), 2) == [["<row 0"], ["<row 1"]]
    assert sql("SELECT rows, total FROM tksva_q.job") == [(3, 3)]
