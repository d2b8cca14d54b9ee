"""A finished file on its way to the browser: opened by the job's id only, never by a name from the request."""

import os
import stat
from collections.abc import Callable
from urllib.parse import quote

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from errors import StorageError, UserError
from reports import JobRow
from settings import Settings
from storage import check_name, faults
from web.security import Refused

#: How a browser is told what a file is, by its extension.
TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_ASCII = {ord('"'): "_", ord("\\"): "_", ord("%"): "_"}


def disposition(name: str) -> str:
    """Return the header that names a download, by RFC 6266: for every browser, Cyrillic for those that read it."""
    plain = "".join(c if " " <= c <= "~" else "_" for c in name).translate(_ASCII)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class Download(FileResponse):
    """A file that stays open until it is sent, whoever deletes or replaces it meanwhile; takes ranges."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        super().__init__(
            f"/proc/self/fd/{descriptor}",
            media_type=TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream"),
            headers={"Content-Disposition": disposition(name), "Cache-Control": "private, no-cache"},
            stat_result=os.fstat(descriptor),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


def download(settings: Settings, job: JobRow | None) -> Callable[[], Download]:
    """Return what makes the answer with the file of a job; raise Refused where there is none to be had."""
    if job is None:
        raise Refused(404, "такого задания нет")
    if job.state != "done" or job.file_name is None or job.user_id is None:
        raise Refused(409, "у задания нет готового файла")
    if job.purged_at is not None:
        raise Refused(410, "файл уже удалён")
    user_id, name = job.user_id, job.file_name

    def opened() -> Download:
        try:
            return Download(_open(settings, user_id, name), name)
        except (StorageError, UserError):
            raise Refused(410, "файл уже удалён") from None

    return opened


def _open(settings: Settings, user_id: int, name: str) -> int:
    with faults(name):
        folder = os.open(settings.files_dir / str(user_id), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            # O_NONBLOCK: what is no file must not hang the answer.
            file = os.open(check_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise StorageError(f"{name} is no file")
        return file
