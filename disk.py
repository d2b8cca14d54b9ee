"""The disk that prepared files are on: how much room there is."""

import os
from dataclasses import dataclass
from pathlib import Path

#: Free space below which an export of an ordinary size may not fit: bytes, and share of the disk.
LEAST_BYTES = 1 << 30
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Room:
    """How much room there is."""

    free: int  # bytes, for whoever is not root
    size: int  # bytes, of the whole disk

    @property
    def share(self) -> float:
        """Which part of the disk is free."""
        return self.free / self.size if self.size else 0.0

    @property
    def little(self) -> bool:
        """Whether that is little, in bytes and in share."""
        return self.free < LEAST_BYTES and self.share < LEAST_SHARE


def room(folder: Path) -> Room:
    """Return the room for a folder, which need not be there yet."""
    disk = os.statvfs(existing(folder))
    return Room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
