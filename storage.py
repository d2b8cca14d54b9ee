"""Folders under FILES_DIR: which names may be written, whose folder is whose, what is deleted.

Everything happens relative to an open descriptor of the user's folder, which is never a symbolic link, so that
nothing planted in a folder leads out of it.
"""

import contextlib
import errno
import grp
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from errors import StorageError, UserError

FOLDER_MODE = 0o2750
#: A folder in the making: one that has kept it was left behind by a kill between two steps.
_UNFINISHED_MODE = 0o700
#: Longest name, in bytes, that file systems of today take.
LONGEST_NAME = 255

#: What a file is to a browser, by its extension.
CONTENT_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

_PART = re.compile(r"\.tksva_q-(\d+)-(\d+)\.part", re.ASCII)


def content_type(name: str) -> str:
    """Return what a file of this name is to a browser."""
    return CONTENT_TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream")


def check_name(name: object) -> str:
    """Return the name of a file to prepare, or raise UserError where it is none that may be written."""
    if not isinstance(name, str) or not name.strip():
        raise UserError("file_to_download: нет имени файла")
    if "/" in name or "\\" in name:
        raise UserError("file_to_download: разделитель папок в имени файла недопустим")
    if name.startswith("."):
        raise UserError("file_to_download: имя файла не может начинаться с точки")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise UserError("file_to_download: управляющий символ в имени файла недопустим")
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"file_to_download: имя длиннее {LONGEST_NAME} байт")
    return name


def part_name(job_id: int, attempt: int) -> str:
    """Return the name under which an attempt writes; no web page links to it."""
    return f".tksva_q-{job_id}-{attempt}.part"


def group_id(name: str | None) -> int:
    """Return the id of the group that reads the files; -1 for the process's own.

    Raises:
        StorageError: there is no such group.
    """
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise StorageError(f"FILES_GROUP: there is no group {name!r} on this machine") from None


@contextlib.contextmanager
def user_folder(files_dir: Path, user_id: int, group: int = -1) -> Iterator[int]:
    """Open the folder of a user's files, made where missing; yield its descriptor.

    Raises:
        UserError: something else stands there, a symbolic link for instance.
        StorageError: it cannot be made or opened.
    """
    with faults(f"folder of user {user_id}"):
        top = _open_top(files_dir, group)
        try:
            folder = _open_folder(top, str(user_id), group)
        finally:
            os.close(top)
    try:
        yield folder
    finally:
        os.close(folder)


def _open_top(files_dir: Path, group: int) -> int:
    made = False
    if not files_dir.exists():
        files_dir.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            files_dir.mkdir(_UNFINISHED_MODE)
            made = True
    top = os.open(files_dir, os.O_RDONLY | os.O_DIRECTORY)
    if made:  # one that the administrator made is as he wants it
        _finish(top, group)
    return top


def _open_folder(top: int, name: str, group: int) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, _UNFINISHED_MODE, dir_fd=top)
    try:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise UserError(f"папка пользователя {name} — не папка, а ссылка или файл") from None
        raise
    _finish(folder, group)
    return folder


def _finish(folder: int, group: int) -> None:
    """Open a folder of the queue's own making to the group; close the descriptor where that fails."""
    status = os.fstat(folder)
    if stat.S_IMODE(status.st_mode) & 0o777 != _UNFINISHED_MODE or status.st_uid != os.geteuid():
        return
    try:
        if group >= 0:
            os.fchown(folder, -1, group)
        os.fchmod(folder, FOLDER_MODE)
    except OSError:
        os.close(folder)
        raise


def purge(files_dir: Path, user_id: int, name: str) -> int | None:
    """Delete a prepared file; return its bytes, None where it is gone already or was never a plain file.

    Raises:
        StorageError: it is there, but cannot be deleted.
    """
    try:
        with _existing_folder(files_dir, user_id) as folder:
            status = os.stat(check_name(name), dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                os.unlink(name, dir_fd=folder)
                return status.st_size
    except UserError:
        pass  # under such a name no file was ever made
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise StorageError(f"{name}: {error.strerror or error}") from error
    return None


def attempts_with_parts(folder: int, job_id: int) -> list[int]:
    """Return the attempts whose part files of a job are in an open folder, the oldest first."""
    return sorted(attempt for job, attempt in _parts(folder) if job == job_id)


def remove_parts(files_dir: Path, user_id: int, job_id: int, attempt: int) -> int:
    """Delete the part files of a job up to this attempt; return how many there were.

    Those of later attempts are a successor's: whoever wakes up late leaves them alone.
    """
    with contextlib.suppress(OSError), _existing_folder(files_dir, user_id) as folder:
        return _unlink(folder, (part for part in _parts(folder) if part[0] == job_id and part[1] <= attempt))
    return 0


def sweep(files_dir: Path, live: Callable[[], Iterable[int]]) -> int:
    """Delete the part files of jobs that are not live; return how many. Nothing else is ever touched.

    Args:
        files_dir: the folder of prepared files.
        live: tells the ids of the jobs that may still need theirs. It is asked after the part files were listed:
            another daemon may have begun one meanwhile.
    """
    found: list[tuple[int, list[tuple[int, int]]]] = []
    with contextlib.suppress(OSError), os.scandir(files_dir) as users:
        for user in users:
            if user.name.isdecimal() and user.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError), _existing_folder(files_dir, int(user.name)) as folder:
                    found.append((int(user.name), _parts(folder)))
    keep, swept = set(live()), 0
    for user_id, parts in found:
        with contextlib.suppress(OSError), _existing_folder(files_dir, user_id) as folder:
            swept += _unlink(folder, (part for part in parts if part[0] not in keep))
    return swept


def _parts(folder: int) -> list[tuple[int, int]]:
    """Return job and attempt of every part file in an open folder."""
    return [(int(part[1]), int(part[2])) for name in os.listdir(folder) if (part := _PART.fullmatch(name))]


def _unlink(folder: int, parts: Iterable[tuple[int, int]]) -> int:
    gone = 0
    for job_id, attempt in parts:
        with contextlib.suppress(OSError):
            os.unlink(part_name(job_id, attempt), dir_fd=folder)
            gone += 1
    return gone


@contextlib.contextmanager
def _existing_folder(files_dir: Path, user_id: int) -> Iterator[int]:
    """Open the folder of a user for deleting; a symbolic link is as good as absent (OSError)."""
    top = os.open(files_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        folder = os.open(str(user_id), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    finally:
        os.close(top)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def faults(what: str) -> Iterator[None]:
    """Turn what the operating system says inside into StorageError, with the name of the thing."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}") from error
