"""Part files as a killed writer leaves them."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import partfile
from partfile import PartFile, Position

JOB = 7
DATA = random.Random(7).randbytes(3_000_000)  # noqa: S311 -- the same bytes each time


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's folder."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predecessor that lives is not waited for."""
    monkeypatch.setattr(partfile, "LOCK_SECONDS", 0.05)


def begin(folder: int, data: bytes, attempt: int = 1) -> Position:
    """Leave a part file as a killed writer does; what it had recorded."""
    part = PartFile.create(folder, JOB, attempt)
    part.write(data)
    part.close()
    return Position(attempt, part.size, part.crc)


def position(attempt: int, data: bytes) -> Position:
    return Position(attempt, len(data), zlib.crc32(data))
