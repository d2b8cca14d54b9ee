"""A query and a file name become a complete file, page by page; whoever comes after an interruption goes on.

A page is a transaction: its rows go into the part file, then key, bytes and progress are recorded together. A
successor cuts the part file back to the recorded bytes and asks for the rows after the recorded key. The part
file gets its final name only when it is complete, and only by the attempt that still owns the job.
"""

import time
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

from attempts import RowsChanged
from csvfile import CsvDialect, CsvWriter
from dwh import Column, Extract, Page, Warehouse
from errors import Cancelled, LostJob, StorageError, UserError
from partfile import PartFile, Position
from progress import PageRecord, Progress
from publishing import Publisher, publisher
from storage import check_name, group_id, remove_parts, user_folder
from tasks import Task

#: Key before the first row.
BEGINNING = 0


class Writer(Protocol):
    """One of the two formats, writing into a part file."""

    INLINE: str  # the step of `seconds` that is spent inside `write`, not beside it

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds since construction by step."""

    def end_page(self) -> dict[str, Any]:
        """Put everything given so far into the part file; return the state from which another writer goes on."""

    def finish(self) -> None:
        """Put the tail into the part file."""

    def abort(self) -> None:
        """Stop without a tail, leaving nothing running."""


class Format(Protocol):
    """What differs between the formats: how a writer begins, and in which form it takes rows from the warehouse."""

    name: str

    def begin(self, part: PartFile, columns: tuple[Column, ...], state: dict[str, Any] | None) -> Writer:
        """Begin a file, or go on with one where its state is given."""

    def fetch(self, extract: Extract, columns: tuple[Column, ...], after: int, limit: int, writer: Any) -> Page:
        """Bring the rows of a page from the warehouse into the writer."""


class _Csv:
    def __init__(self, warehouse: Warehouse, dialect: CsvDialect) -> None:
        self.name = repr(dialect)
        self._warehouse = warehouse
        self._dialect = dialect

    def begin(self, part: PartFile, columns: tuple[Column, ...], state: dict[str, Any] | None) -> CsvWriter:
        return CsvWriter(part, self._warehouse.csv_header(columns, self._dialect), state)

    def fetch(self, extract: Extract, columns: tuple[Column, ...], after: int, limit: int, writer: CsvWriter) -> Page:
        return self._warehouse.csv_page(extract, columns, after, limit, self._dialect, writer.write)


class _Xlsx:
    name = "xlsx"

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def begin(self, part: PartFile, columns: tuple[Column, ...], state: dict[str, Any] | None) -> Writer:
        from xlsx import XlsxWriter  # noqa: PLC0415 -- a CSV job does not pay for the compressor's import

        return XlsxWriter(part, columns, state)

    def fetch(self, extract: Extract, columns: tuple[Column, ...], after: int, limit: int, writer: Any) -> Page:
        return self._warehouse.cells_page(extract, columns, after, limit, writer.write)


@dataclass(frozen=True)
class _Place:
    """Where an export stands after a page."""

    rows: int  # in the file
    total: int  # counted at the start
    key: int  # of the last row
    page: int  # number of the last page
    state: dict[str, Any] | None  # the writer's


def file_name(name: object) -> str:
    """Return the name of a file that can be prepared, or raise UserError."""
    checked = check_name(name)
    if not checked.lower().endswith((".csv", ".xlsx")):
        raise UserError("file_to_download: расширение должно быть .csv или .xlsx")
    return checked


def export(task: Task, extract: Extract) -> None:
    """Prepare the file of a job: from its first row, or from where an earlier attempt was interrupted.

    Raises:
        UserError, WarehouseError, StorageError: see `errors`; the part file stays only where another attempt
            can go on with it.
        LostJob: another worker owns the job; its files were not touched.
        Interrupted: the worker stops, at a page boundary.
    """
    name = file_name(task.job.file_name)
    if task.job.user_id is None:
        raise UserError("user_id: не указан, чей это файл")
    settings, warehouse = task.settings, task.warehouse()
    format_ = _Xlsx(warehouse) if name.lower().endswith(".xlsx") else _Csv(warehouse, CsvDialect.of(settings))
    columns = warehouse.columns(extract.table)
    with user_folder(settings.files_dir, task.job.user_id, group_id(settings.files_group)) as folder:
        _Export(task, extract, name, folder, format_, columns, warehouse, publisher(task, folder, name)).run()


class _Export:
    def __init__(  # noqa: PLR0913, PLR0917 -- what `export` has opened
        self,
        task: Task,
        extract: Extract,
        name: str,
        folder: int,
        format_: Format,
        columns: tuple[Column, ...],
        warehouse: Warehouse,
        out: Publisher,
    ) -> None:
        self.task = task
        self.extract = extract
        self.name = name
        self.folder = folder
        self.format = format_
        self.columns = columns
        self.warehouse = warehouse
        self.out = out
        self.group = group_id(task.settings.files_group)
        self.limit = task.job.chunk_size or task.settings.chunk_size
        # What a part file depends on besides its rows: a successor with another delimiter must not go on with it.
        self.fingerprint = zlib.crc32(repr((name, format_.name, columns, extract)).encode())

    def run(self) -> None:
        self.out.take_over()
        left = self._left()
        part = self._part_of(left) if left else None
        complete = left is not None and left.get("complete", False)
        try:
            if complete and left and self.out.is_done(part, _position(left)):
                return  # the predecessor died between the file's last step and its row's
            if part is not None and left is not None:
                job = self.task.job
                place = _Place(job.rows, job.total or 0, left["key"], left["page"], left["state"])
                if complete:
                    self._publish(part, place)
                    return
            else:
                part, place = self._fresh()
            self._write(part, place)
        except (UserError, Cancelled, StorageError, RowsChanged):
            if part is not None:
                part.remove()
            raise
        finally:
            if part is not None:
                part.close()

    def _left(self) -> dict[str, Any] | None:
        """Return the cursor of an earlier attempt, unless the table was swapped or the file would come out other."""
        left = self.task.job.cursor
        if left and (left.get("version"), left.get("fingerprint")) == (self.task.job.table_version, self.fingerprint):
            return left
        return None

    def _part_of(self, left: dict[str, Any]) -> PartFile | None:
        job = self.task.job
        return PartFile.take_over(self.folder, job.id, job.attempt, _position(left), self.group)

    def _fresh(self) -> tuple[PartFile, _Place]:
        job = self.task.job
        remove_parts(self.task.settings.files_dir, job.user_id or 0, job.id, job.attempt)
        total = self.warehouse.count(self.extract)
        return PartFile.create(self.folder, job.id, job.attempt, self.group), _Place(0, total, BEGINNING, 0, None)

    def _write(self, part: PartFile, place: _Place) -> None:
        writer = self.format.begin(part, self.columns, place.state)
        try:
            if place.state is None:
                place = _Place(place.rows, place.total, place.key, place.page, writer.end_page())
                self._record_first(part, place)
            else:
                self._record(part, place)
            more = True
            while more:
                self.task.may_go_on()
                place, more = self._page(part, writer, place)
            if place.rows != place.total:
                raise RowsChanged(f"the warehouse counted {place.total} rows at the start and gave {place.rows}")
            writer.finish()
        finally:
            writer.abort()
        self._record(part, place, complete=True)
        self._publish(part, place)

    def _publish(self, part: PartFile, place: _Place) -> None:
        self.out.publish(part, lambda more: self._record(part, place, complete=True, more=more))

    def _record_first(self, part: PartFile, place: _Place) -> None:
        try:
            self._record(part, place)
        except LostJob:
            part.remove()  # the job may have ended already: nobody knows of this file, nobody would take it away
            raise

    def _page(self, part: PartFile, writer: Writer, place: _Place) -> tuple[_Place, bool]:
        began, before, size = time.perf_counter(), writer.seconds, part.size
        page = self.format.fetch(self.extract, self.columns, place.key, self.limit, writer)
        fetched, state = time.perf_counter(), writer.end_page()
        steps = {step: seconds - before[step] for step, seconds in writer.seconds.items()}
        inline = steps[writer.INLINE]
        steps["fetch"] = max(0.0, fetched - began - inline)
        steps["page"] = time.perf_counter() - began
        place = _Place(place.rows + page.rows, place.total, page.last_key, place.page + 1, state)
        if page.rows:
            seconds = {step: round(value, 6) for step, value in steps.items()}
            self._record(part, place, PageRecord(place.page, page.rows, part.size - size, seconds))
        return place, page.rows == self.limit

    def _record(
        self,
        part: PartFile,
        place: _Place,
        page: PageRecord | None = None,
        *,
        complete: bool = False,
        more: dict[str, Any] | None = None,
    ) -> None:
        position = {
            "attempt": self.task.job.attempt,
            "size": part.size,
            "crc": part.crc,
            "key": place.key,
            "page": place.page,
            "state": place.state,
            "version": self.task.job.table_version,
            "fingerprint": self.fingerprint,
            "complete": complete,
        } | (more or {})
        self.task.record(Progress(place.rows, place.total, part.size, position, page))


def _position(left: dict[str, Any]) -> Position:
    return Position(left["attempt"], left["size"], left["crc"])
