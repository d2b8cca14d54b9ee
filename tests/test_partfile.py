"""The file in the making: who may go on with it, and that nobody else can spoil or publish it."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import partfile
from errors import LostJob, StorageError
from partfile import PartFile, Position, is_published
from storage import part_name
from tests.conftest import ROOT, wait_for

JOB = 7
DATA = random.Random(7).randbytes(3_000_000)  # noqa: S311 -- the same bytes each time

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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's folder."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predecessor that lives is not waited for."""
    monkeypatch.setattr(partfile, "LOCK_SECONDS", 0.05)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def begin(folder: int, data: bytes, attempt: int = 1) -> Position:
    """Leave a part file as a killed writer does; what it had recorded."""
    part = PartFile.create(folder, JOB, attempt)
    part.write(data)
    part.close()
    return Position(attempt, part.size, part.crc)


def take(folder: int, attempt: int, left: Position) -> PartFile:
    part = PartFile.take_over(folder, JOB, attempt, left)
    assert part is not None
    return part


def position(attempt: int, data: bytes) -> Position:
    return Position(attempt, len(data), zlib.crc32(data))


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
