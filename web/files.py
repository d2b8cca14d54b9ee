"""A finished file on its way to the browser: opened by the job's id only, never by a name from the request."""

import datetime
import os
import re
import stat
from collections.abc import Callable
from email.utils import format_datetime
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from errors import StorageError, StoreError, UserError
from logs import log
from object_store import ObjectStore, open_store
from reports import JobRow
from settings import Settings
from storage import check_name, content_type, faults
from web.security import Refused

_ASCII = {ord('"'): "_", ord("\\"): "_", ord("%"): "_"}


def disposition(name: str) -> str:
    """Return the header that names a download, by RFC 6266: for every browser, Cyrillic for those that read it."""
    plain = "".join(c if " " <= c <= "~" else "_" for c in name).translate(_ASCII)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _headers(name: str) -> dict[str, str]:
    return {"Content-Disposition": disposition(name), "Cache-Control": "private, no-cache"}


class Download(FileResponse):
    """A file that stays open until it is sent, whoever deletes or replaces it meanwhile; takes ranges."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        super().__init__(
            f"/proc/self/fd/{descriptor}",
            media_type=content_type(name),
            headers=_headers(name),
            stat_result=os.fstat(descriptor),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)


class Handover(StreamingResponse):
    """An object on its way; where the store breaks off, so does the answer: half a file must not look like one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except (StoreError, FileNotFoundError) as error:  # replaced since it was found, the latter
            log.warning("download_broken_off", extra={"path": scope["path"], "reason": str(error)})


def download(settings: Settings, job: JobRow, request: Request) -> Callable[[], Response]:
    """Return what makes the answer with the file of a job; raise Refused where there is none to be had.

    What is returned may wait for a store: it is no work for the loop of events.
    """
    if job.state != "done" or job.file_name is None or job.user_id is None:
        raise Refused(409, "у задания нет готового файла")
    if job.purged_at is not None:
        raise Refused(410, "файл уже удалён")
    user_id, name = job.user_id, job.file_name

    def opened() -> Response:
        try:
            store = open_store(settings)
            if store is not None and (answer := _from_store(store, user_id, name, request)):
                return answer
            return Download(_open(settings, user_id, name), name)
        except (StorageError, UserError):
            raise Refused(410, "файл уже удалён") from None
        except StoreError as error:
            log.warning("store_away", extra={"job": job.id, "reason": str(error)})
            raise Refused(503, "хранилище файлов не отвечает", {"Retry-After": "5"}) from None

    return opened


def _from_store(store: ObjectStore, user_id: int, name: str, request: Request) -> Response | None:
    """Return the answer that hands an object on as it comes; of several ranges in one request, the whole of it.

    None where it is not there: it may have been prepared before there was a store.
    """
    key = store.key(user_id, check_name(name))
    found = store.find(key)
    if found is None:
        return None
    modified = format_datetime(found.modified.astimezone(datetime.UTC), usegmt=True)
    headers = _headers(name) | {"Accept-Ranges": "bytes", "ETag": found.etag, "Last-Modified": modified}
    start, end, status = 0, found.size, 200
    if request.headers.get("if-range", found.etag) in {found.etag, modified}:
        wanted = _range(request.headers.get("range", ""), found.size)
        if wanted is not None:
            start, end = wanted
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
            status = 206
    headers["Content-Length"] = str(end - start)
    body = store.read(key, found.etag, start, end)
    return Handover(body, status, headers, content_type(name))


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return which bytes one range of RFC 9110 asks for, None where the whole is to be sent; raise Refused (416)."""
    asked = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", header, re.ASCII)
    if not asked or not (asked[1] or asked[2]):
        return None
    if asked[1]:
        start, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
        if asked[2] and int(asked[2]) < start:
            return None
    else:
        start, end = max(0, size - int(asked[2])), size
    if start >= end:
        raise Refused(416, "такого места в файле нет", {"Content-Range": f"bytes */{size}"})
    return start, end


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
