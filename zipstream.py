"""An append-only zip archive: deflated in a thread of its own, cut off and continued at any recorded position."""

from __future__ import annotations

import struct
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from errors import StorageError

try:
    from isal.isal_zlib import Z_FULL_FLUSH, compressobj, crc32

    #: Measured on 100,000 rows x 30: as fast as level 1 and a little smaller; level 3 takes twice as long for 2 %.
    LEVEL = 2
except ImportError:  # no wheel for this machine: the same stream, four times slower
    from zlib import Z_FULL_FLUSH, compressobj, crc32  # type: ignore[assignment]

    LEVEL = 3

if TYPE_CHECKING:
    from collections.abc import Callable

#: Blocks that may wait for the thread before `append` waits itself: what keeps memory flat.
AHEAD = 4
#: Sizes and offsets from here on need zip64's wider fields.
WIDE = 0xFFFFFFFF

_RAW_DEFLATE = -15  # zlib's window bits: no header of its own
_MEMORY = 9  # zlib's memory level
_DEFLATED = 8
_VERSION, _VERSION_64 = 20, 45
_FLAGS = 0x0808  # sizes follow the data; names are UTF-8
_TIME, _DATE = 0, 0x0021  # 1980-01-01: equal rows make equal bytes
_LOCAL = struct.Struct("<4s5H3I2H")
_SIZES = struct.Struct("<4s3I")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")


class Part(Protocol):
    """What is needed of a part file: bytes go to its end, all of them."""

    @property
    def size(self) -> int:
        """Bytes so far."""

    def write(self, data: bytes, /) -> int:
        """Append the bytes; raises StorageError."""


@dataclass(frozen=True)
class Entry:
    """One file of the archive, complete or in the making."""

    name: str
    offset: int  # of its local header in the archive, bytes
    crc: int = 0  # of what was given
    packed: int = 0  # bytes in the archive
    size: int = 0  # bytes given


class ZipStream:
    """Writes the entries of a zip archive one after another to the end of a part file.

    Everything that touches the part runs in one thread, in the order of the calls; an error of it (StorageError)
    is raised by a later call, at the latest by `sync` or `finish`. An entry holds less than 4 GiB, the archive more
    where it must (zip64).
    """

    def __init__(self, part: Part, state: dict[str, Any] | None = None) -> None:
        """Begin an archive, or go on with one where `sync` has returned the state."""
        self._part = part
        self._entries: list[Entry] = []
        self._entry: Entry | None = None
        #: Bytes given to the open entry.
        self.entry_size = 0
        #: Seconds of the thread since construction, by step.
        self.seconds = {"compress": 0.0, "write": 0.0}
        if state is not None:
            if part.size != state["position"]:
                raise StorageError(f"the part file has {part.size} bytes where {state['position']} were recorded")
            self._entries = [Entry(**entry) for entry in state["entries"]]
            if state["entry"] is not None:
                self._entry = Entry(**state["entry"])
                self.entry_size = self._entry.size
        self._deflater = _deflater()
        self._given = False  # whether the compressor holds anything
        self._failure: BaseException | None = None
        self._tasks: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "deflate")

    def begin(self, name: str) -> None:
        """Open an entry."""
        self.entry_size = 0
        self._queue(self._begin, name)

    def append(self, data: bytes) -> None:
        """Give bytes to the open entry; waits while the thread is too far behind."""
        self.entry_size += len(data)
        self._queue(self._append, data)

    def end(self) -> None:
        """Close the open entry."""
        self._queue(self._end)

    def add(self, name: str, data: bytes) -> None:
        """Write a whole entry."""
        self.begin(name)
        self.append(data)
        self.end()

    def sync(self) -> dict[str, Any]:
        """Put everything given so far into the part; return the state (JSON) from which another stream goes on.

        The compressor begins anew here whether or not anybody else goes on, so the bytes are the same either way;
        for the same reason nothing is put where nothing was given.
        """
        self._queue(self._flush)
        self._wait()
        return {
            "position": self._part.size,
            "entries": [asdict(entry) for entry in self._entries],
            "entry": self._entry and asdict(self._entry),
        }

    def finish(self) -> None:
        """Write the directory that ends the archive."""
        self._queue(self._finish)
        self._wait()
        self._thread.shutdown()

    def abort(self) -> None:
        """Stop the thread, dropping what it has not begun; does nothing after the end."""
        self._thread.shutdown(cancel_futures=True)

    def _queue(self, task: Callable[..., None], *data: Any) -> None:
        if len(self._tasks) >= AHEAD:
            self._tasks.popleft().result()
        self._tasks.append(self._thread.submit(self._run, task, *data))

    def _wait(self) -> None:
        while self._tasks:
            self._tasks.popleft().result()

    def _run(self, task: Callable[..., None], *data: Any) -> None:
        if self._failure is not None:  # a hole in the archive must not be followed by more
            raise self._failure
        try:
            task(*data)
        except BaseException as failure:
            self._failure = failure
            raise

    # From here on: in the thread.

    def _begin(self, name: str) -> None:
        self._entry = Entry(name, self._part.size)
        encoded = name.encode()
        self._write(
            _LOCAL.pack(b"PK\3\4", _VERSION, _FLAGS, _DEFLATED, _TIME, _DATE, 0, 0, 0, len(encoded), 0) + encoded
        )

    def _append(self, data: bytes) -> None:
        entry = self._opened()
        began = perf_counter()
        packed = self._deflater.compress(data)
        self._given = True
        crc = crc32(data, entry.crc)
        self.seconds["compress"] += perf_counter() - began
        self._entry = replace(entry, crc=crc, size=entry.size + len(data))
        self._write_packed(packed)

    def _flush(self) -> None:
        if self._given:
            self._write_packed(self._deflater.flush(Z_FULL_FLUSH))
            self._anew()

    def _end(self) -> None:
        self._write_packed(self._deflater.flush())
        self._anew()
        entry = self._opened()
        self._write(_SIZES.pack(b"PK\7\10", entry.crc, entry.packed, entry.size))
        self._entries.append(entry)
        self._entry = None

    def _anew(self) -> None:
        self._deflater = _deflater()
        self._given = False

    def _finish(self) -> None:
        start = self._part.size
        directory = b"".join(_central(entry) for entry in self._entries)
        count, end = len(self._entries), start + len(directory)
        if end >= WIDE:
            directory += _END_64.pack(
                b"PK\6\6", _END_64.size - 12, _VERSION_64, _VERSION_64, 0, 0, count, count, end - start, start
            )
            directory += _LOCATOR_64.pack(b"PK\6\7", 0, end, 1)
        directory += _END.pack(b"PK\5\6", 0, 0, count, count, end - start, min(start, WIDE), 0)
        self._write(directory)

    def _opened(self) -> Entry:
        if self._entry is None:
            raise ValueError("no entry of the archive is open")
        return self._entry

    def _write_packed(self, packed: bytes) -> None:
        entry = self._opened()
        self._entry = replace(entry, packed=entry.packed + len(packed))
        if packed:
            self._write(packed)

    def _write(self, data: bytes) -> None:
        began = perf_counter()
        self._part.write(data)
        self.seconds["write"] += perf_counter() - began


def _deflater() -> Any:
    return compressobj(LEVEL, _DEFLATED, _RAW_DEFLATE, _MEMORY)


def _central(entry: Entry) -> bytes:
    name = entry.name.encode()
    wide = entry.offset >= WIDE
    extra = struct.pack("<2HQ", 1, 8, entry.offset) if wide else b""
    version = _VERSION_64 if wide else _VERSION
    return (
        _CENTRAL.pack(
            b"PK\1\2", version, version, _FLAGS, _DEFLATED, _TIME, _DATE, entry.crc, entry.packed, entry.size,
            len(name), len(extra), 0, 0, 0, 0, min(entry.offset, WIDE),
        )
        + name
        + extra
    )  # fmt: skip
