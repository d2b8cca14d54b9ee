"""A query and a file name become a complete file, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

import queueing
from attempts import RowsChanged
from dwh import Equals, Extract
from errors import Cancelled, Interrupted, UserError
from exports import export, file_name
from tests.database import TABLE, Queries
from tests.exporting import EXTRACT, Bench, bench
from tests.warehouses import psql

__all__ = ["bench"]  # fixtures


def test_csv_is_what_psql_copy_writes(bench: Bench) -> None:
    content = bench.whole("a.csv")
    query = (
        'SELECT "Ст. Отправления", "Дор. Отправления", "SVOD.Дата отправки", "№ контейнера", "Кол-во, шт.",'
        ' "Сумма, %", "Примечание", "Дата", "Порожний" FROM audit._sales__execution_orders'
        " WHERE \"Ст. Отправления\" = 'Тайшет' ORDER BY rownumber"
    )
    assert content == b"\xef\xbb\xbf" + psql(bench.conninfo, query)


def test_xlsx_holds_the_querys_values(bench: Bench, sql: Queries) -> None:
    bench.submit("a.xlsx")
    export(bench.task(bench.claim()), EXTRACT)
    sheet = openpyxl.load_workbook(bench.file("a.xlsx")).active
    assert sheet is not None
    rows = list(sheet.iter_rows(min_row=2, values_only=True))
    wanted = sql(
        'SELECT "Ст. Отправления", "№ контейнера", "Кол-во, шт.", "Сумма, %%"::float8, "Примечание", "Порожний"'
        ' FROM audit._sales__execution_orders WHERE "Ст. Отправления" = %s ORDER BY rownumber',
        "Тайшет",
    )
    assert [(row[0], row[3], row[4], row[5], row[6], row[8]) for row in rows] == wanted


@pytest.mark.parametrize("change", ["DELETE FROM {t} WHERE rownumber > 2990", "INSERT INTO {t} SELECT {more} FROM {t}"])
def test_rows_that_do_not_add_up_are_not_published(bench: Bench, sql: Queries, change: str) -> None:
    bench.submit("a.csv")
    job = bench.claim()
    task = bench.task(job)
    count = bench.warehouse.count
    more = (
        'rownumber + 3000, "Ст. Отправления", "Дор. Отправления", "SVOD.Дата отправки", "№ контейнера", "Кол-во, шт.",'
        ' "Сумма, %", "Примечание", "Дата", "Порожний"'
    )

    class Changing:
        """The warehouse, whose table changes right after the count."""

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.warehouse, name)

        def count(self, extract: Extract) -> int:
            counted = count(extract)
            sql(change.format(t=TABLE, more=more))
            return counted

    task.warehouse = Changing  # type: ignore[assignment]
    with pytest.raises(RowsChanged, match="1000"):
        export(task, EXTRACT)
    assert list(bench.settings.files_dir.rglob("*.*")) == []


def test_no_rows_make_a_file_with_a_header(bench: Bench) -> None:
    nothing = Extract(TABLE, (Equals("Ст. Отправления", "Нигде"),))
    for name in ("a.csv", "a.xlsx"):
        bench.submit(name)
        job = bench.claim()
        export(bench.task(job), nothing)
        bench.finish(job)
    assert len(bench.file("a.csv").read_text("utf-8-sig").splitlines()) == 1
    sheet = openpyxl.load_workbook(bench.file("a.xlsx")).active
    assert sheet is not None
    assert sheet.max_row == 1


def test_a_row_hidden_by_its_user_stops_the_export_and_leaves_no_part(bench: Bench, sql: Queries) -> None:
    post = sql.post("a.csv")
    sql("INSERT INTO tksva_q.job (post_id, user_id, file_name, dwh_table) VALUES (%s, 1, 'a.csv', %s)", post, TABLE)
    job = bench.claim()

    def hide() -> bool:
        sql("UPDATE post SET task_status = 'скрыта пользователем'")
        return False

    task = bench.task(job)
    task.stopping = hide
    with pytest.raises(Cancelled):
        export(task, EXTRACT)
    assert list(bench.settings.files_dir.rglob("*.*")) == []
    assert sql.status(post) == "скрыта пользователем"


def test_an_older_file_of_the_same_name_is_replaced_in_one_step(bench: Bench) -> None:
    folder = bench.settings.files_dir / "1"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("старый")
    bench.submit("a.csv")
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 2), EXTRACT)
    assert (folder / "a.csv").read_text() == "старый"
    bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert len((folder / "a.csv").read_text("utf-8-sig").splitlines()) == 1001


def test_every_page_is_in_the_journal_with_its_seconds(bench: Bench, sql: Queries) -> None:
    for name in ("a.csv", "a.xlsx"):
        bench.submit(name)
        job = bench.claim()
        export(bench.task(job), EXTRACT)
        bench.finish(job)
        pages = sql("SELECT rows, bytes, seconds FROM tksva_q.page WHERE job_id = %s ORDER BY page", job.id)
        assert [page[0] for page in pages] == [300, 300, 300, 100]
        # What is deflated meanwhile is not counted as fetched: for a single page that may be all.
        assert all(page[2]["page"] >= page[2]["fetch"] >= 0 for page in pages)
        assert sum(page[2]["fetch"] for page in pages) > 0
        assert {"write"} < set(pages[0][2])


@pytest.mark.parametrize(
    "name", ["a.txt", "csv", "a.csv.exe", "../a.csv", ".a.csv", "a\n.csv", "", None, "я" * 130 + ".csv"]
)
def test_a_name_that_cannot_be_prepared_is_the_users_mistake(name: str | None) -> None:
    with pytest.raises(UserError, match="file_to_download"):
        file_name(name)


@pytest.mark.parametrize("name", ["отчёт (1) за май.csv", "A.XLSX", "a;b'\"$.csv", "…—№.xlsx"])
def test_usual_names_are_prepared(name: str) -> None:
    assert file_name(name) == name


def test_a_folder_that_is_a_link_is_not_written_through(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bench.settings.files_dir.mkdir(parents=True)
    (bench.settings.files_dir / "1").symlink_to(elsewhere)
    bench.submit("a.csv")
    with pytest.raises(UserError):
        export(bench.task(bench.claim()), EXTRACT)
    assert list(elsewhere.iterdir()) == []


def test_a_job_without_a_user_is_refused(bench: Bench) -> None:
    with bench.database.transaction() as cursor:
        queueing.submit(cursor, "test", {}, file_name="a.csv", dwh_table=TABLE)
    with pytest.raises(UserError, match="user_id"):
        export(bench.task(bench.claim()), EXTRACT)
