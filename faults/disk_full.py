"""No room for a file: the part goes, the reason is named, the loop lives, and with room again the file is made."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil

import statuses
from faults.bench import LONG, WISHES, Bench
from faults.daemon import Daemon, wait_for
from faults.report import Result

#: Bytes: room for the small files, not for the large ones.
LITTLE = 1_300 << 10
#: Seconds since its last sign of life after which a loop is no longer taken for alive: two heartbeats.
ALIVE = 10.0


class Disk(Protocol):
    """What can be full."""

    name: str
    reason: str  # what the system says then
    folder: Path

    def fill(self, daemon: Daemon) -> None: ...

    def clear(self, daemon: Daemon) -> None: ...


class SmallDisk:
    """A file system of its own; only root may mount one."""

    name = "диск полон"
    reason = "No space left on device"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, _daemon: Daemon) -> None:
        _mount("-o", f"remount,size={LITTLE}", str(self.folder))

    def clear(self, _daemon: Daemon) -> None:
        _mount("-o", "remount,size=256m", str(self.folder))


class Quota:
    """A limit for each file, which any user may set for his own processes."""

    name = "предел размера файла"
    reason = "File too large"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, daemon: Daemon) -> None:
        self._limit(daemon, LITTLE)

    def clear(self, daemon: Daemon) -> None:
        self._limit(daemon, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(daemon: Daemon, size: int) -> None:
        # The fork server's limit is that of every child to come.
        for pid in (daemon.pid, *(process.pid for process in daemon.family())):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def run(bench: Bench, times: int = 4) -> list[Result]:
    """Leave no room under `times` exports for each sort of disk, look on, and make room."""
    bench.learn()
    results = []
    with _disks(bench.folder) as disks:
        for disk in disks:
            bench.sql("TRUNCATE post, tksva_q.job CASCADE")
            results.append(_run(bench, disk, times))
    return results


def _run(bench: Bench, disk: Disk, times: int) -> Result:
    lost: list[str] = []
    bench.files = disk.folder
    bench.posts.clear()
    daemon = bench.daemon(files_dir=disk.folder)
    wait_for(daemon.children, "the first child")  # a limit is set for processes that are there
    for number in range(times):
        disk.fill(daemon)
        large = bench.ask(LONG[number % len(LONG)])
        reason = wait_for(lambda: _reason(bench), "the end of an attempt without room")
        if disk.reason not in reason:
            lost.append(f"the reason is {reason!r}")
        if left := list(disk.folder.glob("*/.*")):
            lost.append(f"left over on the full disk: {left}")
        if bench.status(large) != statuses.WAITING:
            lost.append(f"the job is {bench.status(large)!r}, not waiting")
        bench.await_status(bench.ask(WISHES[2]), statuses.PREPARED)
        disk.clear(daemon)
        bench.await_all()
        lost += bench.losses(redone=True)
        for path in disk.folder.glob("*/*"):
            path.unlink()
        bench.posts.clear()
    idle = time.time() - bench.value("SELECT extract(epoch FROM max(seen_at))::float8 FROM tksva_q.worker")
    if idle > ALIVE or daemon.stop():
        lost.append("the loop did not live through it")
    attempts = bench.value("SELECT count(*) FROM tksva_q.attempt WHERE outcome = 'retry'")
    return Result(disk.name, times, lost, {"попыток без места": str(attempts)})


def _reason(bench: Bench) -> str | None:
    rows = bench.sql("SELECT error FROM tksva_q.job WHERE state = 'waiting' AND attempt > 0 AND error IS NOT NULL")
    return str(rows[0][0]) if rows else None


@contextmanager
def _disks(folder: Path) -> Iterator[list[Disk]]:
    """The sorts of full disk that this user can make."""
    quota, small = folder / "quota", folder / "disk"
    quota.mkdir()
    small.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={LITTLE}", "tmpfs", str(small))
    except (subprocess.CalledProcessError, FileNotFoundError):
        yield [Quota(quota)]
        return
    try:
        yield [SmallDisk(small), Quota(quota)]
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)
