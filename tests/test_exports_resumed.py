"""An export that was interrupted, or taken over, ends in the same bytes, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from db import DatabaseAway
from errors import Interrupted, LostJob
from exports import export
from progress import Progress
from tasks import Task
from tests.daemons import make_settings
from tests.database import Queries
from tests.exporting import EXTRACT, PAGE, Bench, bench

__all__ = ["bench"]  # fixtures


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
