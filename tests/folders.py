"""Folders and files as tests make them, and as they look at them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Bytes that must be free in memory before servers' data is put there.
ROOM = 4 << 30


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"123")


def tree(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def for_servers() -> Path:
    """A new folder for servers' data: in memory where there is room, for each test makes a database of 300 files."""
    memory = Path("/dev/shm")  # noqa: S108 -- the name below it is made up
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    return Path(tempfile.mkdtemp(prefix="tksva_q-test-", dir=memory if roomy else None))
