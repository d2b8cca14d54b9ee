"""A log file that several processes append to and that any of them rotates when it is full."""

import contextlib
import fcntl
import logging
import os
from pathlib import Path

#: Bytes after which a file is put aside, and how many are kept beside the newest.
LIMIT = 10 << 20
KEPT = 5
#: The administrator's group may read it.
MODE = 0o640


class SharedFile(logging.Handler):
    """Appends lines to a file, puts it aside as `NAME.1` … `NAME.5` when it is full, follows it when others did.

    Python's own rotating handler leaves every process but the one that rotated in the file that was put aside.

    Raises:
        OSError: the file cannot be opened, when the handler is made; later, lines are dropped.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        super().__init__()
        self._path = path
        self._limit = limit
        self._file = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record's line, by one write that no other process can come into the middle of."""
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):  # a full disk: the line is on standard output, too
            self._follow()
            if os.fstat(self._file).st_size + len(line) > self._limit:
                self._rotate()
            os.write(self._file, line)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            os.close(self._file)
        super().close()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _follow(self) -> None:
        """Open the path again where it has become another file."""
        if not self._is_newest():
            fresh = self._open()
            os.close(self._file)
            self._file = fresh

    def _is_newest(self) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._file))

    def _rotate(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            if self._is_newest():  # nobody was quicker
                for number in range(KEPT, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(self._aside(number - 1), self._aside(number))
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # also where that failed: the others would wait for ever
        self._follow()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
