"""Looks all the time at the files under their final names: whole from the first moment, and published once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two looks.
LOOK = 0.01


class Watch(threading.Thread):
    """The looks; `lost` fills while they go on.

    Args:
        folder: of one user's files.
        expected: gives what a file of some name must hold, None for any content.
    """

    def __init__(self, folder: Path, expected: Callable[[str], bytes | None]) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.expected = expected
        self.lost: list[str] = []
        self.published: dict[str, int] = {}  # name -> inode
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK):
            self.look()

    def look(self) -> None:
        if not self.folder.is_dir():
            return
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and self.published.get(entry.name) != entry.inode():
                    self._see(entry)

    def _see(self, entry: os.DirEntry[str]) -> None:
        if entry.name in self.published:
            self.lost.append(f"{entry.name}: published twice")
        self.published[entry.name] = entry.inode()
        expected = self.expected(entry.name)
        if expected is not None and Path(entry.path).read_bytes() != expected:
            self.lost.append(f"{entry.name}: not whole under its final name")

    def close(self) -> None:
        self._over.set()
        self.join()
        self.look()


@contextmanager
def watching(folder: Path, expected: Callable[[str], bytes | None]) -> Iterator[Watch]:
    watch = Watch(folder, expected)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()
