"""The file in the making: appended to, locked, checked, published in one step.

A part file carries the job's id and the attempt in its name, and an exclusive lock while its writer lives. A
successor that gets the lock knows that nobody else writes, and goes on in the same file. One that does not (its
predecessor is frozen, not dead) copies the recorded bytes under a name of its own and takes the old name away, so
that the zombie, when it wakes up, writes into a file that has no name and has nothing to publish. A successor that
dies between these steps and its first record leaves a part file that nothing names but its own name: it is found by it.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from errors import LostJob, StorageError
from storage import attempts_with_parts, faults, part_name

try:
    from isal.isal_zlib import crc32
except ImportError:  # the same figures, only slower, where ISA-L is not to be had
    from zlib import crc32

FILE_MODE = 0o640
#: Seconds to wait for the lock of a part file whose writer may be dying at this moment.
LOCK_SECONDS = 1.0
#: Bytes after which the disk is to begin writing.
SEND = 8 << 20
#: Bytes read at once where a part file is checked or copied.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Position:
    """How much of a part file counts: what comes after it was not recorded."""

    attempt: int  # whose part file it is
    size: int  # bytes
    crc: int  # CRC-32 of these bytes


class PartFile:
    """A file in the making: only ever appended to, locked by its writer, known by its size and checksum."""

    def __init__(self, folder: int, descriptor: int, name: str, size: int, crc: int) -> None:
        self.folder = folder
        self.descriptor = descriptor
        self.name = name
        self.size = size
        self.crc = crc
        self._sent = size  # bytes that the disk has been given, or was asked to take

    @classmethod
    def create(cls, folder: int, job_id: int, attempt: int, group: int = -1) -> "PartFile":
        """Begin an empty part file; one of the same attempt cannot exist."""
        name = part_name(job_id, attempt)
        with faults(name):
            descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            part = cls(folder, descriptor, name, 0, 0)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if group >= 0:
                    os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, FILE_MODE)
            except OSError:
                part.remove()
                raise
        return part

    @classmethod
    def take_over(cls, folder: int, job_id: int, attempt: int, left: Position, group: int = -1) -> "PartFile | None":
        """Go on with the part file of an earlier attempt, cut back to what was recorded.

        Returns:
            None where it is gone, too short, or not what was recorded (a machine that lost power).
        """
        with faults(part_name(job_id, left.attempt)):
            found = [old for old in attempts_with_parts(folder, job_id) if left.attempt <= old < attempt]
            for old in found:
                part = cls._take(folder, job_id, old, attempt, left, group)
                if part is not None:
                    _forget(folder, job_id, found)
                    return part
        return None

    @classmethod
    def _take(  # noqa: PLR0913, PLR0917 -- what take_over has in hand
        cls, folder: int, job_id: int, old: int, attempt: int, left: Position, group: int
    ) -> "PartFile | None":
        """Make the part file of the attempt `old` that of `attempt`, if it is what was recorded."""
        try:
            descriptor = os.open(part_name(job_id, old), os.O_RDWR | os.O_NOFOLLOW, dir_fd=folder)
        except OSError:
            return None
        taken = None
        try:
            if not _lock(descriptor):
                return cls._copy(folder, descriptor, job_id, attempt, left, group)
            if _is(descriptor, left):
                os.ftruncate(descriptor, left.size)
                os.lseek(descriptor, left.size, os.SEEK_SET)
                name = part_name(job_id, attempt)
                os.rename(part_name(job_id, old), name, src_dir_fd=folder, dst_dir_fd=folder)
                taken = cls(folder, descriptor, name, left.size, left.crc)
        finally:
            if taken is None:
                os.close(descriptor)
        return taken

    @classmethod
    def _copy(  # noqa: PLR0913, PLR0917 -- what take_over has in hand
        cls, folder: int, source: int, job_id: int, attempt: int, left: Position, group: int
    ) -> "PartFile | None":
        """Copy the recorded bytes of a writer that may wake up."""
        part = cls.create(folder, job_id, attempt, group)
        try:
            os.lseek(source, 0, os.SEEK_SET)
            while part.size < left.size and (block := os.read(source, min(BLOCK, left.size - part.size))):
                part.write(block)
        except BaseException:
            part.remove()
            raise
        if (part.size, part.crc) != (left.size, left.crc):
            part.remove()
            return None
        return part

    def write(self, data: bytes | memoryview) -> int:
        """Append all of `data`; return its length. Raises StorageError when the disk is full."""
        view = memoryview(data)
        with faults(self.name):
            while view:
                view = view[os.write(self.descriptor, view) :]
        self.crc = crc32(data, self.crc)
        length = len(memoryview(data))
        self.size += length
        if self.size - self._sent >= SEND:
            # Advice that the kernel takes by writing at once, without waiting: little is left for the fsync at the end.
            with contextlib.suppress(OSError):  # a file system that takes no advice
                os.posix_fadvise(self.descriptor, self._sent, self.size - self._sent, os.POSIX_FADV_DONTNEED)
            self._sent = self.size
        return length

    def pieces(self, length: int) -> Iterator[bytes]:
        """Return what was written in pieces of `length` bytes, the last one shorter; one empty piece of an empty file.

        Raises:
            StorageError: the disk gives other bytes than it was given.
        """
        place, crc = 0, 0
        while True:
            with faults(self.name):
                piece = os.pread(self.descriptor, min(length, self.size - place), place)
            place, crc = place + len(piece), crc32(piece, crc)
            if (not piece and place < self.size) or (place == self.size and crc != self.crc):
                raise StorageError(f"{self.name}: the disk gives other bytes than it was given")
            yield piece
            if place == self.size:
                return

    def publish(self, name: str) -> None:
        """Make the complete file durable and give it its final name, in one step that cannot be half done.

        Raises:
            LostJob: a successor has taken the part file away.
            StorageError: the disk or the folder does not let it.
        """
        with faults(name):
            os.fsync(self.descriptor)
            try:
                os.rename(self.name, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            except FileNotFoundError:
                raise LostJob("the part file was taken over") from None
            os.fsync(self.folder)

    def close(self) -> None:
        """Let go of the file; what was written stays for a successor."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Take the part file away."""
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self.folder)
        self.close()


def is_published(folder: int, name: str, left: Position) -> bool:
    """Tell whether the file under its final name is the one that was recorded as complete, to the byte."""
    try:
        # Not waiting: opening a named pipe would, for a writer that never comes.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False
    try:
        return os.fstat(descriptor).st_size == left.size and _is(descriptor, left)
    finally:
        os.close(descriptor)


def _is(descriptor: int, left: Position) -> bool:
    """Tell whether an open file begins with what was recorded."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_size >= left.size and _checksum(descriptor, left.size) == left.crc


def _forget(folder: int, job_id: int, attempts: Iterable[int]) -> None:
    """Take away the names of earlier attempts, for nobody has anything to publish under them any more."""
    for attempt in attempts:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part_name(job_id, attempt), dir_fd=folder)


def _lock(descriptor: int) -> bool:
    """Take the lock of a part file; False where its writer lives on."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _checksum(descriptor: int, size: int) -> int:
    """Return the CRC-32 of the first `size` bytes."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    crc, left = 0, size
    while left and (block := os.read(descriptor, min(BLOCK, left))):
        crc = crc32(block, crc)
        left -= len(block)
    return crc
