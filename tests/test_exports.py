"""A query and a file name become a complete file: whole, resumed, refused, or not there at all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import openpyxl
import pytest

import queueing
from attempts import RowsChanged
from db import DatabaseAway
from dwh import Equals, Extract
from errors import Cancelled, Interrupted, LostJob, UserError
from exports import export, file_name
from progress import Progress
from tasks import Task
from tests.conftest import TABLE, Queries, make_settings
from tests.exporting import EXTRACT, PAGE, Bench, bench

__all__ = ["bench"]  # fixtures


def test_csv_is_what_psql_copy_writes(bench: Bench, tmp_path: Path) -> None:
    content = bench.whole("a.csv")
    query = (
        'SELECT "Ст. Отправления", "Дор. Отправления", "SVOD.Дата отправки", "№ контейнера", "Кол-во, шт.",'
        ' "Сумма, %", "Примечание", "Дата", "Порожний" FROM audit._sales__execution_orders'
        " WHERE \"Ст. Отправления\" = 'Тайшет' ORDER BY rownumber"
    )
    target = tmp_path / "psql.csv"
    subprocess.run(
        ["psql", bench.conninfo, "-qc", f"\\copy ({query}) to '{target}' (format csv, header, delimiter ';')"],
        check=True,
    )
    assert content == b"\xef\xbb\xbf" + target.read_bytes()


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


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
@pytest.mark.parametrize("pages", [0, 1, 3])
def test_an_interrupted_export_goes_on_to_the_same_bytes(bench: Bench, name: str, pages: int) -> None:
    undisturbed = bench.whole(name)
    bench.submit(name)
    first = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(first, pages), EXTRACT)
    assert not bench.file(name).exists()
    assert bench.left_over() == [f".tksva_q-{first.id}-1.part"]
    bench.give_back(first)
    second = bench.claim()
    assert second.rows == pages * PAGE
    export(bench.task(second), EXTRACT)
    assert bench.file(name).read_bytes() == undisturbed
    assert bench.left_over() == []


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_an_export_interrupted_at_every_page_ends_in_the_same_bytes(bench: Bench, name: str) -> None:
    undisturbed = bench.whole(name)
    bench.submit(name)
    for _ in range(3):  # the fourth page is the last
        job = bench.claim()
        with pytest.raises(Interrupted):
            export(bench.task(job, 1), EXTRACT)
        bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file(name).read_bytes() == undisturbed


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_an_export_that_lacked_nothing_but_its_tail_ends_in_the_same_bytes(bench: Bench, name: str) -> None:
    undisturbed = bench.whole(name)
    bench.submit(name)
    first = bench.claim()
    task = bench.task(first)

    def record(made: Progress) -> None:
        if made.position["complete"]:
            raise DatabaseAway("gone after the last page")
        Task.record(task, made)

    task.record = record  # type: ignore[method-assign]
    with pytest.raises(DatabaseAway):
        export(task, EXTRACT)
    bench.give_back(first)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file(name).read_bytes() == undisturbed


def test_bytes_after_the_recorded_ones_are_cut_off(bench: Bench) -> None:
    undisturbed = bench.whole("a.csv")
    bench.submit("a.csv")
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 1), EXTRACT)
    with (bench.settings.files_dir / "1" / f".tksva_q-{job.id}-1.part").open("ab") as part:
        part.write("строка, которую никто не записал".encode())
    bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file("a.csv").read_bytes() == undisturbed


@pytest.mark.parametrize("damage", ["gone", "short", "other bytes"])
def test_a_damaged_part_file_means_row_one(bench: Bench, damage: str) -> None:
    undisturbed = bench.whole("a.csv")
    bench.submit("a.csv")
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 1), EXTRACT)
    part = bench.settings.files_dir / "1" / f".tksva_q-{job.id}-1.part"
    content = part.read_bytes()
    part.unlink()
    if damage != "gone":
        part.write_bytes(content[:-1] if damage == "short" else b"\0" * len(content))
    bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file("a.csv").read_bytes() == undisturbed
    assert bench.left_over() == []


def test_a_table_swapped_during_a_pause_means_row_one(bench: Bench, sql: Queries) -> None:
    bench.submit("a.csv")
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 2), EXTRACT)
    bench.give_back(job)
    sql(
        "UPDATE dwh_tables_info SET wants_to_refresh_timestamp = localtimestamp + interval '1 s';"
        "UPDATE audit._sales__execution_orders SET \"№ контейнера\" = 'НОВЫЙ'"
    )
    export(bench.task(bench.claim()), EXTRACT)
    lines = bench.file("a.csv").read_text("utf-8-sig").splitlines()[1:]
    assert len(lines) == 1000
    assert all("НОВЫЙ" in line for line in lines)


def test_other_settings_after_a_pause_mean_row_one(bench: Bench, database: str, tmp_path: Path) -> None:
    bench.submit("a.csv")
    job = bench.claim()
    with pytest.raises(Interrupted):
        export(bench.task(job, 2), EXTRACT)
    bench.give_back(job)
    comma = make_settings(database, tmp_path, chunk_size=PAGE, csv_delimiter=",")
    export(bench.task(bench.claim(), settings=comma), EXTRACT)
    lines = bench.file("a.csv").read_text("utf-8-sig").splitlines()
    assert len(lines) == 1001
    assert all(line.startswith(("Тайшет,", '"Ст. Отправления",', "Ст. Отправления,")) for line in lines)


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


def test_a_worker_that_died_after_publishing_has_published_once(bench: Bench, sql: Queries) -> None:
    undisturbed = bench.whole("a.csv")
    bench.submit("a.csv")
    job = bench.claim()
    export(bench.task(job), EXTRACT)
    published = bench.file("a.csv").stat()
    bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file("a.csv").stat().st_ino == published.st_ino
    assert bench.file("a.csv").read_bytes() == undisturbed


def test_a_worker_that_died_before_publishing_left_a_file_to_publish(bench: Bench) -> None:
    undisturbed = bench.whole("a.xlsx")
    bench.submit("a.xlsx")
    job = bench.claim()
    export(bench.task(job), EXTRACT)
    bench.file("a.xlsx").rename(bench.settings.files_dir / "1" / f".tksva_q-{job.id}-1.part")
    bench.give_back(job)
    export(bench.task(bench.claim()), EXTRACT)
    assert bench.file("a.xlsx").read_bytes() == undisturbed
    assert bench.left_over() == []


def test_a_zombie_that_wakes_up_changes_nothing(bench: Bench, sql: Queries) -> None:
    """The first attempt is frozen between two pages; its job is taken over and finished; then it goes on."""
    bench.submit("a.csv")
    zombie = bench.claim()
    seen: list[bytes] = []

    def frozen() -> bool:
        if bench.left_over() and not seen and sql.value("SELECT rows FROM tksva_q.job") == PAGE:
            bench.give_back(zombie)
            second = bench.claim()
            export(bench.task(second), EXTRACT)
            bench.finish(second)
            seen.append(bench.file("a.csv").read_bytes())
        return False

    task = bench.task(zombie)
    task.stopping = frozen
    with pytest.raises(LostJob):
        export(task, EXTRACT)
    assert bench.file("a.csv").read_bytes() == seen[0]
    assert sql("SELECT state, attempt FROM tksva_q.job") == [("done", 2)]
    assert bench.left_over() == []


def test_a_zombie_that_had_not_begun_leaves_no_part_behind_a_job_that_has_ended(bench: Bench) -> None:
    bench.submit("a.csv")
    zombies = bench.claim()
    task = bench.task(zombies)

    def asleep() -> Any:
        """The warehouse, after another attempt has done the job."""
        bench.give_back(zombies)
        job = bench.claim()
        export(bench.task(job), EXTRACT)
        bench.finish(job)
        return bench.warehouse

    task.warehouse = asleep
    with pytest.raises(LostJob):
        export(task, EXTRACT)
    assert bench.left_over() == []
    assert bench.file("a.csv").exists()


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
        assert all(page[2]["page"] >= page[2]["fetch"] > 0 for page in pages)
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
