"""How much room there is for prepared files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from disk import Room, existing, room


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    assert existing(tmp_path / "not" / "yet") == existing(tmp_path) == tmp_path
    assert room(tmp_path / "not" / "yet").size == shutil.disk_usage(tmp_path).total


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert existing(tmp_path / "file") == tmp_path


@pytest.mark.parametrize(
    ("free", "size", "little"),
    [
        (2 << 30, 1 << 50, False),  # little of a great disk is enough
        (1 << 20, 10 << 20, False),  # much of a small one, too
        (1 << 20, 1 << 40, True),
        (0, 0, True),
    ],
)
def test_little_room_is_little_in_bytes_and_in_share(free: int, size: int, *, little: bool) -> None:
    assert Room(free, size).little is little
