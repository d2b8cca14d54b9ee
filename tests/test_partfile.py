"""The file in the making: whole and readable, or not there; published in one step."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import LostJob, StorageError
from partfile import PartFile, Position, is_published
from storage import part_name
from tests.folders import umask
from tests.parts import DATA, JOB, begin, folder, position, quick

__all__ = ["folder", "quick"]  # fixtures


# --- writing ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50)))
def test_size_and_checksum_are_those_of_the_file(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("pieces")
    folder = os.open(path, os.O_RDONLY)
    part = PartFile.create(folder, JOB, 1)
    assert [part.write(memoryview(piece)) for piece in pieces] == [len(piece) for piece in pieces]
    whole = b"".join(pieces)
    assert (path / part.name).read_bytes() == whole
    assert (part.size, part.crc) == (len(whole), zlib.crc32(whole))
    part.remove()
    os.close(folder)


def test_a_part_file_is_readable_by_the_group_whatever_the_umask(folder: int, tmp_path: Path) -> None:
    with umask(0o077):
        part = PartFile.create(folder, JOB, 1)
    part.publish("a.csv")
    part.close()
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o640


def test_a_part_file_belongs_to_the_group_that_was_chosen(folder: int, tmp_path: Path) -> None:
    group = 12345 if os.geteuid() == 0 else next(iter(os.getgroups()), os.getegid())
    part = PartFile.create(folder, JOB, 1, group)
    part.publish("a.csv")
    part.close()
    assert (tmp_path / "a.csv").stat().st_gid == group


def test_a_group_that_may_not_be_given_leaves_nothing_behind(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(StorageError, match="Operation not permitted"):
        PartFile.create(folder, JOB, 1, 5)
    assert os.listdir(tmp_path) == []
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_a_link_planted_under_the_name_of_a_part_file_leads_nowhere(folder: int, tmp_path: Path, target: str) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / part_name(JOB, 1)).symlink_to(target)
    with pytest.raises(StorageError):
        PartFile.create(folder, JOB, 1)
    assert PartFile.take_over(folder, JOB, 2, position(1, b"untouched")) is None
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert not (tmp_path / "nowhere").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that takes 100,000 bytes: a real small disk for root, elsewhere a limit of the process."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=102400", "tmpfs", str(path)], check=False, capture_output=True
    )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted.returncode:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    yield path
    if mounted.returncode:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    else:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_a_fault_of_the_storage_and_the_part_file_can_be_taken_away(small_disk: Path) -> None:
    folder = os.open(small_disk, os.O_RDONLY)
    part = PartFile.create(folder, JOB, 1)
    with pytest.raises(StorageError, match=r"No space left on device|File too large"):
        for _ in range(4):
            part.write(bytes(30_000))
    assert part.size == 90_000  # what was written whole
    part.remove()
    assert os.listdir(small_disk) == []
    os.close(folder)


def test_a_disk_that_gets_full_during_a_copy_leaves_no_half_of_it(small_disk: Path) -> None:
    folder = os.open(small_disk, os.O_RDONLY)
    left = begin(folder, bytes(80_000))
    holder = os.open(small_disk / part_name(JOB, 1), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    if os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize > 80_000:
        resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(StorageError):
        PartFile.take_over(folder, JOB, 2, left)
    assert os.listdir(small_disk) == [part_name(JOB, 1)]
    os.close(holder)
    os.close(folder)


# --- publishing -------------------------------------------------------------------------------------------------------


def test_a_published_file_is_whole_and_has_no_other_name(folder: int, tmp_path: Path) -> None:
    part = PartFile.create(folder, JOB, 1)
    part.write(DATA)
    part.publish("Отчёт (1).csv")
    part.close()
    assert os.listdir(tmp_path) == ["Отчёт (1).csv"]
    assert (tmp_path / "Отчёт (1).csv").read_bytes() == DATA


def test_publishing_takes_the_place_of_an_older_file_in_one_step(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"older")
    with (tmp_path / "a.csv").open("rb") as download:
        part = PartFile.create(folder, JOB, 1)
        part.write(b"newer")
        part.publish("a.csv")
        part.close()
        assert download.read() == b"older"
    assert (tmp_path / "a.csv").read_bytes() == b"newer"


def test_a_link_under_the_final_name_is_replaced_and_not_followed(folder: int, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "a.csv").symlink_to("victim")
    part = PartFile.create(folder, JOB, 1)
    part.write(b"newer")
    part.publish("a.csv")
    part.close()
    assert not (tmp_path / "a.csv").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_a_folder_under_the_final_name_is_a_fault_of_the_storage(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    part = PartFile.create(folder, JOB, 1)
    with pytest.raises(StorageError, match=r"^a\.csv: "):
        part.publish("a.csv")
    part.close()


def test_a_part_file_whose_name_is_gone_cannot_be_published(folder: int, tmp_path: Path) -> None:
    part = PartFile.create(folder, JOB, 1)
    (tmp_path / part.name).unlink()
    with pytest.raises(LostJob):
        part.publish("a.csv")
    part.close()
    assert os.listdir(tmp_path) == []


def test_closing_leaves_the_part_file_and_removing_takes_it_away(folder: int, tmp_path: Path) -> None:
    part = PartFile.create(folder, JOB, 1)
    part.close()
    part.close()
    assert os.listdir(tmp_path) == [part_name(JOB, 1)]
    part.remove()
    part.remove()
    assert os.listdir(tmp_path) == []


def test_what_was_published_is_known_to_the_byte(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(DATA)
    assert is_published(folder, "a.csv", position(1, DATA))
    assert not is_published(folder, "a.csv", position(1, DATA[:-1]))
    assert not is_published(folder, "a.csv", Position(1, len(DATA), 0))
    assert not is_published(folder, "b.csv", position(1, DATA))


def test_a_link_or_a_pipe_or_a_folder_is_nothing_that_was_published(folder: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "link.csv").symlink_to("a.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    empty = position(1, b"")
    assert is_published(folder, "a.csv", empty)
    assert not any(is_published(folder, name, empty) for name in ("link.csv", "pipe.csv", "folder.csv"))
