"""Files from what a form of one's own computes: pandas frames, many of them one after the other, or a small workbook.

For extracts of a table `exports.py` is faster by far, and goes on after an interruption; this begins again.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openpyxl
import pandas as pd

from cells import cell_encoder, csv_encoder
from csvfile import CsvDialect, CsvWriter, csv_header
from dwh import Column, Kind
from errors import UserError
from exports import file_name
from partfile import PartFile
from progress import Progress
from publishing import Publisher, publisher
from storage import group_id, remove_parts, user_folder
from tasks import Task
from xlsx import XlsxWriter

#: What a form may hand over.
Result = pd.DataFrame | Iterable[pd.DataFrame] | openpyxl.Workbook

#: Rows that become text at once.
BATCH = 5000

#: What pandas infers of a column's values -> how a spreadsheet shows them; everything else is text.
_KINDS: dict[str, Kind] = {
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "datetime",
    "datetime64": "datetime",
    "time": "time",
}


def prepare(task: Task, result: Result) -> None:
    """Write what a form computed into the job's file and publish it, complete or not at all.

    Frames become CSV or XLSX by the file's name; an iterator is written frame by frame, so that only one of them
    need be in memory. All frames have the columns of the first; the index is not written.

    Raises:
        UserError: a workbook for a file that is not .xlsx, or a name that cannot be prepared.
        ValueError: a frame has other columns than the first, or there is no frame at all.
        Interrupted: the worker stops; the job begins again later.
    """
    name = file_name(task.job.file_name)
    with _part(task, name) as (part, out):
        if isinstance(result, openpyxl.Workbook):
            rows = _write_workbook(task, part, name, result)
        elif isinstance(result, pd.DataFrame):
            rows = _write_frames(task, part, name, iter([result]), len(result))
        else:
            rows = _write_frames(task, part, name, iter(result), None)
        out.publish(part, lambda more: _record(task, part, rows, rows, more))


@contextmanager
def _part(task: Task, name: str) -> Iterator[tuple[PartFile, Publisher]]:
    """Give an empty part file of the job's user, which goes where it is not published, and where it is to go."""
    job, settings = task.job, task.settings
    if job.user_id is None:
        raise UserError("user_id: не указан, чей это файл")
    group = group_id(settings.files_group)
    with user_folder(settings.files_dir, job.user_id, group) as folder:
        out = publisher(task, folder, name)
        out.take_over()
        remove_parts(settings.files_dir, job.user_id, job.id, job.attempt)
        part = PartFile.create(folder, job.id, job.attempt, group)
        try:
            yield part, out
        except BaseException:
            part.remove()
            raise
        finally:
            part.close()


def _write_workbook(task: Task, part: PartFile, name: str, workbook: openpyxl.Workbook) -> int:
    if not name.lower().endswith(".xlsx"):
        raise UserError("file_to_download: эта форма готовит книгу, расширение должно быть .xlsx")
    content = io.BytesIO()
    workbook.save(content)
    part.write(content.getbuffer())
    rows = sum(max(0, rows - 1) for rows in _sheet_rows(workbook, content))
    _record(task, part, rows, rows)
    return rows


def _sheet_rows(workbook: openpyxl.Workbook, content: io.BytesIO) -> list[int]:
    if not workbook.write_only:
        return [sheet.max_row for sheet in workbook.worksheets]
    with zipfile.ZipFile(content) as book:  # it has let go of its rows, and did not count them
        sheets = [name for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
        return [book.read(name).count(b"<row ") for name in sheets]


def _write_frames(task: Task, part: PartFile, name: str, frames: Iterator[pd.DataFrame], total: int | None) -> int:
    first = next(frames, None)
    if first is None:
        raise ValueError("the form handed over no frame: at least one, empty, is needed for the header")
    columns = [Column(str(label), _kind(first.iloc[:, place]), "") for place, label in enumerate(first.columns)]
    writer, encode = _writer(task, part, name, columns)
    rows = 0
    try:
        frame: pd.DataFrame | None = first
        while frame is not None:
            if list(map(str, frame.columns)) != [column.name for column in columns]:
                raise ValueError(f"a frame has the columns {list(frame.columns)}, the first one had others")
            for begin in range(0, len(frame), BATCH):
                task.may_go_on()
                writer.write(encode(frame.iloc[begin : begin + BATCH]))
            rows += len(frame)
            writer.end_page()
            _record(task, part, rows, total if total is not None else rows)
            frame = next(frames, None)
        writer.finish()
    finally:
        writer.abort()
    return rows


def _writer(
    task: Task, part: PartFile, name: str, columns: list[Column]
) -> tuple[CsvWriter | XlsxWriter, Callable[[pd.DataFrame], bytes]]:
    """Return the writer of the file's format, and the function that turns a frame into what it takes."""
    if name.lower().endswith(".xlsx"):
        return XlsxWriter(part, columns), _encoder([cell_encoder(column) for column in columns], "\t")
    dialect = CsvDialect.of(task.settings)
    encoders = [csv_encoder(column, dialect) for column in columns]
    return CsvWriter(part, csv_header(columns, dialect)), _encoder(encoders, dialect.delimiter)


def _encoder(encoders: list[Callable[[object], str]], delimiter: str) -> Callable[[pd.DataFrame], bytes]:
    def encode(frame: pd.DataFrame) -> bytes:
        texts = [
            [encode_value(value) for value in _values(frame.iloc[:, place])]
            for place, encode_value in enumerate(encoders)
        ]
        return "".join(delimiter.join(row) + "\n" for row in zip(*texts, strict=True)).encode(errors="replace")

    return encode


def _values(column: pd.Series[Any]) -> list[Any]:
    """Return the column's values as Python's own types, None where there is none."""
    values = column.tolist()
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind == "O":  # all others make Python's own by themselves
        values = [_plain(value) if isinstance(value, np.generic) else value for value in values]
    return [None if missing else value for value, missing in zip(values, column.isna().tolist(), strict=True)]


def _plain(value: np.generic) -> object:
    """Return a scalar of numpy as Python's or pandas' own: `item` would make nanoseconds of a moment."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    return float(value) if isinstance(value, np.floating) else value.item()


def _kind(column: pd.Series[Any]) -> Kind:
    return _KINDS.get(pd.api.types.infer_dtype(column, skipna=True), "text")


def _record(task: Task, part: PartFile, rows: int, total: int, more: dict[str, Any] | None = None) -> None:
    """Show the progress; there is no place from which another attempt could go on."""
    task.record(Progress(rows, total, part.size, more or {}))
