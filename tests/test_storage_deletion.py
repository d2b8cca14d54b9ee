"""Deletion: nothing goes that is not the queue's, or that somebody still needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import storage
from storage import attempts_with_parts, part_name, remove_parts, sweep
from tests.folders import make, tree

# --- deletion ---------------------------------------------------------------------------------------------------------


def test_purging_deletes_the_file_and_says_how_large_it_was(tmp_path: Path) -> None:
    make(tmp_path / "7", "a.csv", "b.csv")
    assert storage.purge(tmp_path, 7, "a.csv") == 3
    assert storage.purge(tmp_path, 7, "a.csv") is None
    assert tree(tmp_path) == ["7", "7/b.csv"]


@pytest.mark.parametrize("name", ["../8/a.csv", "../7/a.csv", "", "..", "folder", "link", "pipe", ".tksva_q-1-1.part"])
def test_purging_deletes_nothing_but_plain_files_of_a_good_name(tmp_path: Path, name: str) -> None:
    for user in ("7", "8"):
        make(tmp_path / user, "a.csv", ".tksva_q-1-1.part")
    (tmp_path / "7" / "folder").mkdir()
    (tmp_path / "7" / "link").symlink_to("a.csv")
    os.mkfifo(tmp_path / "7" / "pipe")
    before = tree(tmp_path)
    assert storage.purge(tmp_path, 7, name) is None
    assert tree(tmp_path) == before


def test_purging_does_not_follow_a_link_in_place_of_a_folder(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a.csv", part_name(1, 1))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "7").symlink_to(tmp_path / "elsewhere")
    assert storage.purge(tmp_path / "files", 7, "a.csv") is None
    assert remove_parts(tmp_path / "files", 7, 1, 1) == 0
    assert sweep(tmp_path / "files", list) == 0
    assert tree(tmp_path / "elsewhere") == [part_name(1, 1), "a.csv"]


def test_where_there_is_no_folder_there_is_nothing_to_delete(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert storage.purge(nowhere, 7, "a.csv") is None
    assert remove_parts(nowhere, 7, 1, 1) == 0
    assert sweep(nowhere, list) == 0
    assert not nowhere.exists()


# --- part files -------------------------------------------------------------------------------------------------------

NOT_PARTS = [
    "a.csv",
    ".tksva_q-1-1.part.csv",
    "x.tksva_q-1-1.part",
    ".tksva_q-1.part",
    ".tksva_q-a-1.part",
    ".tksva_q-١-١.part",
    ".tksva_q-1-1.part\n",
    ".other-1-1.part",
]


def test_the_part_files_of_a_job_are_told_from_everything_else(tmp_path: Path) -> None:
    make(tmp_path, part_name(1, 10), part_name(1, 9), part_name(11, 1), *NOT_PARTS)
    folder = os.open(tmp_path, os.O_RDONLY)
    assert attempts_with_parts(folder, 1) == [9, 10]
    assert attempts_with_parts(folder, 2) == []
    os.close(folder)


def test_the_part_files_of_a_job_go_and_those_of_others_and_of_a_successor_stay(tmp_path: Path) -> None:
    stay = [part_name(1, 4), part_name(11, 1), part_name(2, 1), *NOT_PARTS]
    make(tmp_path / "7", part_name(1, 1), part_name(1, 3), *stay)
    assert remove_parts(tmp_path, 7, 1, 3) == 2
    assert sorted(os.listdir(tmp_path / "7")) == sorted(stay)


def test_a_sweep_takes_the_part_files_of_jobs_that_have_ended_and_nothing_else(tmp_path: Path) -> None:
    stay = [part_name(5, 2), part_name(5, 3), *NOT_PARTS]
    make(tmp_path / "7", part_name(1, 1), *stay)
    make(tmp_path / "8", part_name(2, 1), part_name(3, 2))
    make(tmp_path / "not a user", part_name(1, 1))
    make(tmp_path / "7" / "deeper", part_name(1, 1))
    make(tmp_path, part_name(1, 1))
    assert sweep(tmp_path, lambda: [5, 6]) == 3
    assert sorted(os.listdir(tmp_path / "7")) == sorted([*stay, "deeper"])
    assert os.listdir(tmp_path / "8") == []
    for other in (tmp_path, tmp_path / "not a user", tmp_path / "7" / "deeper"):
        assert (other / part_name(1, 1)).exists()


def test_a_part_file_that_another_daemon_begins_during_the_sweep_stays(tmp_path: Path) -> None:
    make(tmp_path / "7", part_name(1, 1))

    def live() -> list[int]:
        make(tmp_path / "7", part_name(2, 1))  # of a job that was claimed after the question was answered
        return []

    assert sweep(tmp_path, live) == 1
    assert os.listdir(tmp_path / "7") == [part_name(2, 1)]
