"""Links to finished files for people without the token: signed, and good for LINK_HOURS."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from settings import Settings
from web import api
from web.context import Open
from web.security import Guard, Refused

router = APIRouter(include_in_schema=False)


def link(settings: Settings, guard: Guard, job_id: int) -> str:
    """Return a link to the file of a job that is good from now on for LINK_HOURS."""
    until = int(time.time() + settings.link_hours * 3600)
    host = f"[{settings.web_host}]" if ":" in settings.web_host else settings.web_host
    base = (settings.notify_link or f"http://{host}:{settings.web_port}").rstrip("/")
    return f"{base}/files/{job_id}?until={until}&signature={guard.sign('file', str(job_id), str(until))}"


@router.get("/files/{job_id}")
async def signed_file(
    context: Open,
    job_id: api.JobId,
    request: Request,
    until: Annotated[int, Query(ge=0, le=10**12)],
    signature: Annotated[str, Query(max_length=100)],
) -> Response:
    """The finished file, for whoever has the link."""
    if not context.guard.is_signed(signature, "file", str(job_id), str(until)):
        raise Refused(403, "ссылка неверна")
    if time.time() > until:
        raise Refused(410, "ссылка больше не действует")
    return await api.send_file(context, job_id, request)
