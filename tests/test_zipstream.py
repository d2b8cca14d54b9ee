"""The append-only archive: readable by others, continued at any point, clean after a full disk."""

import importlib.util
import io
import json
import os
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import zipstream
from errors import StorageError
from tests.workbooks import Memory, threads
from zipstream import AHEAD, ZipStream


class FullDisk(Memory):
    """A part file that takes only so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.refused = 0

    def write(self, data: bytes) -> int:
        if self.size + len(data) > self.room:
            self.refused += 1
            raise StorageError("no space left on device")
        return super().write(data)


def contents(data: bytes | bytearray) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def write_all(stream: ZipStream, steps: list[Callable[[ZipStream], object]]) -> None:
    for step in steps:
        step(stream)


def test_an_archive_is_read_by_the_standard_library() -> None:
    part, noise = Memory(), os.urandom(300_000)
    stream = ZipStream(part)
    stream.add("[Content_Types].xml", b"<Types/>")
    stream.begin("данные.bin")
    for start in range(0, len(noise), 10_000):
        stream.append(noise[start : start + 10_000])
    stream.end()
    stream.add("empty", b"")
    stream.finish()
    assert contents(part.data) == {"[Content_Types].xml": b"<Types/>", "данные.bin": noise, "empty": b""}


def test_equal_input_makes_equal_bytes_and_no_clock_is_asked() -> None:
    parts = [Memory(), Memory()]
    for part in parts:
        stream = ZipStream(part)
        stream.add("a", b"abc" * 1000)
        stream.finish()
    assert parts[0].data == parts[1].data
    assert zipfile.ZipFile(io.BytesIO(parts[0].data)).infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_a_stream_continued_after_any_sync_gives_the_same_bytes() -> None:
    line = b"<c><v>%d</v></c>" * 500
    steps: list[Callable[[ZipStream], object]] = [
        lambda stream: stream.sync(),
        lambda stream: stream.add("first", b"1" * 5000),
        lambda stream: stream.sync(),
        lambda stream: stream.begin("second"),
        lambda stream: stream.sync(),
        lambda stream: stream.append(line * 20),
        lambda stream: stream.append(line * 3),
        lambda stream: stream.sync(),
        lambda stream: stream.sync(),
        lambda stream: stream.append(line * 7),
        lambda stream: stream.end(),
        lambda stream: stream.sync(),
        lambda stream: stream.finish(),
    ]
    whole = Memory()
    write_all(ZipStream(whole), steps)
    for at in [index for index, step in enumerate(steps) if "sync" in step.__code__.co_names]:
        part = Memory()
        stream = ZipStream(part)
        write_all(stream, steps[:at])
        state = json.loads(json.dumps(stream.sync()))
        stream.append(b"what nobody recorded") if state["entry"] else None
        stream.abort()
        part = Memory(bytes(part.data[: state["position"]]))
        write_all(ZipStream(part, state), steps[at + 1 :])
        assert part.data == whole.data, at
    assert contents(whole.data) == {"first": b"1" * 5000, "second": line * 30}
    assert not threads()


def test_a_part_of_another_length_is_not_continued() -> None:
    part = Memory()
    stream = ZipStream(part)
    stream.add("a", b"abc")
    state = stream.sync()
    stream.abort()
    with pytest.raises(StorageError, match="the part file has 3 bytes"):
        ZipStream(Memory(b"abc"), state)


def test_a_full_disk_is_raised_by_a_later_call_and_nothing_is_written_behind_the_hole() -> None:
    part = FullDisk(200_000)
    stream = ZipStream(part)
    stream.begin("a")
    with pytest.raises(StorageError, match="no space left"):
        for _ in range(100):
            stream.append(os.urandom(50_000))
    with pytest.raises(StorageError, match="no space left"):
        stream.sync()
    stream.abort()
    assert part.refused == 1
    assert not threads()


def test_abort_drops_what_was_not_begun_and_may_be_called_again() -> None:
    go_on = threading.Event()

    class Slow(Memory):
        def write(self, data: bytes) -> int:
            go_on.wait()
            return super().write(data)

    part = Slow()
    stream = ZipStream(part)
    stream.begin("a")
    for _ in range(AHEAD - 1):
        stream.append(os.urandom(1000))
    stopping = threading.Thread(target=stream.abort)
    stopping.start()
    with pytest.raises(CancelledError):
        stream._tasks[-1].result()
    go_on.set()
    stopping.join()
    stream.abort()
    assert part.size < 1000
    assert not threads()


def test_the_caller_is_never_more_than_a_few_blocks_ahead() -> None:
    block, given, furthest = os.urandom(100_000), 0, 0

    class Counting(Memory):
        def write(self, data: bytes) -> int:
            nonlocal furthest
            zlib.compress(block, 9)  # slower than the caller
            furthest = max(furthest, given - self.size // len(block))
            return super().write(data)

    part = Counting()
    stream = ZipStream(part)
    stream.begin("a")
    for _ in range(60):
        stream.append(block)
        given += 1
    stream.sync()
    stream.abort()
    assert furthest <= AHEAD + 3  # one in hand, one in the compressor, one half written


def test_data_without_an_open_entry_is_refused() -> None:
    stream = ZipStream(Memory())
    stream.append(b"abc")
    with pytest.raises(ValueError, match="no entry"):
        stream.sync()
    stream.abort()


def test_an_archive_past_four_gigabytes_is_read_by_the_standard_library(tmp_path: Path) -> None:
    class Sparse:
        """A file that begins with a hole of 5 GiB, as if so much had been written."""

        def __init__(self, path: Path) -> None:
            self.file = path.open("w+b", buffering=0)
            self.file.truncate(5 << 30)
            self.size = self.file.seek(0, os.SEEK_END)

        def write(self, data: bytes) -> int:
            self.size += len(data)
            return self.file.write(data)

    part = Sparse(tmp_path / "big.zip")
    stream = ZipStream(part)
    stream.add("a", b"abc")
    stream.add("b", b"abcd")
    stream.finish()
    part.file.close()
    with zipfile.ZipFile(tmp_path / "big.zip") as archive:
        assert archive.testzip() is None
        assert [(info.filename, info.header_offset >> 30) for info in archive.infolist()] == [("a", 5), ("b", 5)]
        assert archive.read("b") == b"abcd"


def test_zlib_does_it_where_isal_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    spec = importlib.util.spec_from_file_location("zipstream_without_isal", zipstream.__file__)
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.compressobj is zlib.compressobj
    part = Memory()
    stream = module.ZipStream(part)
    stream.begin("a")
    stream.append(b"abc" * 10_000)
    state = stream.sync()
    stream.abort()
    stream = module.ZipStream(part, state)
    stream.append(b"def" * 10_000)
    stream.end()
    stream.finish()
    assert contents(part.data) == {"a": b"abc" * 10_000 + b"def" * 10_000}


def test_the_seconds_of_the_thread_are_known_by_step() -> None:
    stream = ZipStream(Memory())
    stream.add("a", os.urandom(1_000_000))
    stream.finish()
    assert stream.seconds.keys() == {"compress", "write"}
    assert all(seconds > 0 for seconds in stream.seconds.values())
