"""Who may go on with a part file, and that a predecessor can neither spoil nor publish it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import partfile
from partfile import PartFile, Position
from storage import part_name
from tests import ROOT
from tests.parts import DATA, JOB, begin, folder, position, quick
from tests.waiting import wait_for

__all__ = ["folder", "quick"]  # fixtures

#: What a writer in a process of its own does when it is told to.
WRITER = """
import os, sys
from partfile import PartFile
from errors import LostJob
folder = os.open(sys.argv[1], os.O_RDONLY)
part = PartFile.create(folder, 7, int(sys.argv[2]))
for line in sys.stdin:
    order, _, text = line.rstrip("\\n").partition(" ")
    try:
        if order == "write":
            part.write(text.encode())
        elif order == "publish":
            part.publish(text)
        print("done", flush=True)
    except LostJob as error:
        print("lost", error, flush=True)
"""


class Writer:
    """A writer of a part file in a process of its own, which can be stopped and killed."""

    def __init__(self, path: Path, attempt: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(attempt)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, order: str) -> str:
        self.send(order)
        return self.answer()

    def send(self, order: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        stat_of = Path(f"/proc/{self.process.pid}/stat")
        wait_for(lambda: stat_of.read_text().rpartition(")")[2].split()[0] == "T")

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_writer(tmp_path: Path) -> Iterator[Callable[[int], Writer]]:
    started: list[Writer] = []

    def start(attempt: int) -> Writer:
        writer = Writer(tmp_path, attempt)
        started.append(writer)
        return writer

    yield start
    for writer in started:
        writer.end()


def take(folder: int, attempt: int, left: Position) -> PartFile:
    part = PartFile.take_over(folder, JOB, attempt, left)
    assert part is not None
    return part


# --- going on where a dead writer stopped -----------------------------------------------------------------------------


def test_a_successor_goes_on_in_the_same_file(folder: int, tmp_path: Path) -> None:
    left = begin(folder, DATA[:2_000_000])
    inode = (tmp_path / part_name(JOB, 1)).stat().st_ino
    part = take(folder, 2, left)
    assert os.listdir(tmp_path) == [part.name] == [part_name(JOB, 2)]
    assert (tmp_path / part.name).stat().st_ino == inode
    part.write(DATA[2_000_000:])
    assert (part.size, part.crc) == (len(DATA), zlib.crc32(DATA))
    part.publish("a.csv")
    part.close()
    assert (tmp_path / "a.csv").read_bytes() == DATA


def test_what_was_not_recorded_is_cut_off(folder: int, tmp_path: Path) -> None:
    begin(folder, b"recorded, and not")
    part = take(folder, 2, position(1, b"recorded"))
    assert (tmp_path / part.name).read_bytes() == b"recorded"
    part.write(b"!")
    part.close()
    assert (tmp_path / part.name).read_bytes() == b"recorded!"


def test_a_killed_writer_is_no_obstacle(folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]) -> None:
    writer = start_writer(1)
    writer("write recorded")
    inode = (tmp_path / part_name(JOB, 1)).stat().st_ino
    writer.end()
    part = take(folder, 2, position(1, b"recorded"))
    assert os.fstat(part.descriptor).st_ino == inode
    part.close()


def test_a_writer_that_dies_a_little_later_is_waited_for(
    folder: int, start_writer: Callable[[int], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = start_writer(1)
    writer("write recorded")
    monkeypatch.setattr(partfile, "LOCK_SECONDS", 10)
    monkeypatch.setattr(partfile.time, "sleep", lambda _: writer.end())
    part = take(folder, 2, position(1, b"recorded"))
    assert part.name == part_name(JOB, 2)
    part.close()


@pytest.mark.parametrize("on_disk", [b"recorde", b"", b"Recorded", b"recordeX and more"])
def test_a_file_that_is_not_what_was_recorded_is_not_gone_on_with(folder: int, tmp_path: Path, on_disk: bytes) -> None:
    before = set(os.listdir("/proc/self/fd"))
    begin(folder, on_disk)
    assert PartFile.take_over(folder, JOB, 2, position(1, b"recorded")) is None
    assert (tmp_path / part_name(JOB, 1)).read_bytes() == on_disk
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_gone_is_not_gone_on_with(folder: int, tmp_path: Path) -> None:
    assert PartFile.take_over(folder, JOB, 2, position(1, b"recorded")) is None
    assert os.listdir(tmp_path) == []


def test_a_folder_or_a_pipe_under_the_name_is_not_gone_on_with(folder: int, tmp_path: Path) -> None:
    (tmp_path / part_name(JOB, 1)).mkdir()
    os.mkfifo(tmp_path / part_name(JOB, 2))
    assert PartFile.take_over(folder, JOB, 3, position(1, b"")) is None


def test_part_files_of_other_jobs_and_of_successors_are_not_taken(folder: int, tmp_path: Path) -> None:
    for name in (part_name(JOB + 1, 1), part_name(JOB, 2), part_name(JOB, 3)):
        (tmp_path / name).write_bytes(b"recorded")
    assert PartFile.take_over(folder, JOB, 2, position(1, b"recorded")) is None
    assert len(os.listdir(tmp_path)) == 3


def test_a_successor_that_died_before_its_first_record_loses_nothing(folder: int, tmp_path: Path) -> None:
    left = begin(folder, DATA)
    for attempt in (2, 3):  # each took the file over, and was killed before it could say so
        take(folder, attempt, left).close()
    part = take(folder, 4, left)
    assert os.listdir(tmp_path) == [part_name(JOB, 4)]
    assert (tmp_path / part.name).read_bytes() == DATA
    part.close()


def test_a_successor_that_died_in_the_middle_of_its_copy_loses_nothing(folder: int, tmp_path: Path) -> None:
    left = begin(folder, DATA)
    (tmp_path / part_name(JOB, 2)).write_bytes(DATA[:1000])
    part = take(folder, 3, left)
    assert os.listdir(tmp_path) == [part_name(JOB, 3)]
    assert (tmp_path / part.name).read_bytes() == DATA
    part.close()


# --- a writer that is frozen, not dead --------------------------------------------------------------------------------


def test_the_bytes_of_a_living_writer_are_copied_and_its_name_is_taken_away(
    folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]
) -> None:
    zombie = start_writer(1)
    zombie("write recorded")
    zombie("write  and more")
    inode = (tmp_path / part_name(JOB, 1)).stat().st_ino
    part = take(folder, 2, position(1, b"recorded"))
    assert os.listdir(tmp_path) == [part_name(JOB, 2)]
    assert os.fstat(part.descriptor).st_ino != inode
    assert (tmp_path / part.name).read_bytes() == b"recorded"
    assert (part.size, part.crc) == (8, zlib.crc32(b"recorded"))
    part.close()


def test_a_zombie_that_wakes_up_neither_writes_into_the_file_nor_publishes_one(
    folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]
) -> None:
    zombie = start_writer(1)
    zombie("write recorded")
    zombie.freeze()
    part = take(folder, 2, position(1, b"recorded"))
    part.write(b" by the successor")
    zombie.wake()
    assert zombie("write  by the zombie") == "done"
    assert zombie("publish a.csv").startswith("lost")
    assert os.listdir(tmp_path) == [part_name(JOB, 2)]
    part.publish("a.csv")
    part.close()
    assert zombie("publish a.csv").startswith("lost")
    assert (tmp_path / "a.csv").read_bytes() == b"recorded by the successor"


def test_a_zombie_that_wakes_up_after_the_end_changes_nothing(
    folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]
) -> None:
    zombie = start_writer(1)
    zombie("write recorded")
    zombie.freeze()
    zombie.send("publish a.csv")  # it was about to
    part = take(folder, 2, position(1, b"recorded"))
    part.write(b", whole")
    part.publish("a.csv")
    part.close()
    zombie.wake()
    assert zombie.answer().startswith("lost")
    assert os.listdir(tmp_path) == ["a.csv"]
    assert (tmp_path / "a.csv").read_bytes() == b"recorded, whole"


def test_a_copy_that_is_not_what_was_recorded_is_not_gone_on_with(
    folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]
) -> None:
    zombie = start_writer(1)
    zombie("write recorded")
    for wrong in (position(1, b"recorded and more"), Position(1, 8, 0)):
        assert PartFile.take_over(folder, JOB, 2, wrong) is None
        assert os.listdir(tmp_path) == [part_name(JOB, 1)]


def test_a_large_file_is_copied_whole(folder: int, tmp_path: Path) -> None:
    left = begin(folder, DATA)
    holder = os.open(tmp_path / part_name(JOB, 1), os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    part = take(folder, 2, left)
    part.close()
    os.close(holder)
    assert (tmp_path / part_name(JOB, 2)).read_bytes() == DATA


def test_a_job_that_was_handed_on_many_times_has_one_part_file(
    folder: int, tmp_path: Path, start_writer: Callable[[int], Writer]
) -> None:
    left = begin(folder, DATA[:100])
    for attempt in range(2, 12):
        part = take(folder, attempt, left)
        part.write(DATA[part.size : part.size + 100])
        left = Position(attempt, part.size, part.crc)
        with suppress(OSError):
            os.write(part.descriptor, b"not recorded")
        part.close()
        assert os.listdir(tmp_path) == [part_name(JOB, attempt)]
    part = take(folder, 12, left)
    part.publish("a.csv")
    part.close()
    assert (tmp_path / "a.csv").read_bytes() == DATA[:1100]
