"""The pages for people, in Russian: the queue, lists, one job, the two forms. They work without the script, too."""

import secrets
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import reports
import words
from errors import QueueError
from jobs import State
from web import api, charts, choices, dashboard, models
from web.context import Authorized, Context, Open
from web.health import health_of
from web.security import BROWSER, SESSION, SESSION_SECONDS, cookie

#: Forms and their fields in the words of a user.
TITLES = {
    **{form.name: f"Выгрузка {form.title.lower()}" for form in choices.FORMS},
    **{form.field: form.label for form in choices.FORMS},
    "start_date": "С",
    "finish_date": "По",
}


def body(operation: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the JSON that a path of an OpenAPI description takes, itself or by its name there."""
    schema: dict[str, Any] = operation["requestBody"]["content"].get("application/json", {}).get("schema", {})
    _, _, name = schema.get("$ref", "").rpartition("/")
    return spec["components"]["schemas"][name] if name else schema


router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
templates = Environment(
    loader=FileSystemLoader(FilePath(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters |= {
    "thousands": words.thousands,
    "size": words.size,
    "duration": words.duration,
    "moment": words.moment,
    "count": words.count,
    "reason": models.reason,
    "body": body,
}
templates.globals |= {
    "state_names": words.STATE_NAMES,
    "outcomes": words.OUTCOMES,
    "goes_on": words.GOES_ON,
    "titles": TITLES,
    "has_file": models.has_file,
    "width": charts.WIDTH,
    "height": charts.HEIGHT,
    "workloads": (),
}

Text = Annotated[str, Form()]


def render(template: str, **values: Any) -> str:
    """Return a page, everything that is put into it escaped."""
    return templates.get_template(template).render(**values)


async def draw(context: Context) -> str:
    """Return the part of the first page that changes by itself."""
    overview = await context.pool.read(dashboard.overview)
    look = context.monitor.look
    return render(
        "live.html",
        overview=overview,
        status=overview.status,
        health=health_of(context),
        moving={job.id: job for job in look.running} if look else {},
        day=charts.day(overview.hours),
        waits=charts.waiting(overview.hours),
        form_token=dashboard.FORM_TOKEN,
    )


def answer(context: Context, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a whole page, with the cookie by which a form of ours is known again."""
    guard, browser = context.guard, _browser(request)
    shared = {
        "form_token": guard.form_token(browser),
        "open": guard.open,
        "logged_in": guard.has_session(request),
        "path": request.url.path,
    }
    page = HTMLResponse(render(template, **shared | values), status, {"Cache-Control": "no-store"})
    page.set_cookie(BROWSER, browser, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return page


def _browser(request: Request) -> str:
    """Return by what a browser is known; a new one gets something new, the same all through this request."""
    if not hasattr(request.state, "browser"):
        request.state.browser = cookie(request, BROWSER) or secrets.token_urlsafe(16)
    return str(request.state.browser)


# --- looking ----------------------------------------------------------------------------------------------------------


@router.get("/")
async def index(context: Open, request: Request) -> HTMLResponse:
    """The queue, and on the embedded default the two forms."""
    return await _index(context, request, {})


async def _index(context: Context, request: Request, filled: dict[str, str], **values: Any) -> HTMLResponse:
    live = await context.dashboard.html(context.guard.form_token(_browser(request)))
    embedded = context.settings.embedded
    return answer(
        context,
        request,
        "index.html",
        **{"problem": None, "estimate": None} | values,
        live=live,
        forms=choices.FORMS if embedded else (),
        choices=await context.pool.read(choices.read) if embedded else choices.Choices(),
        filled=filled,
    )


@router.get("/live")
async def live(context: Open, request: Request) -> HTMLResponse:
    """The part of the first page that changes by itself, for the script."""
    drawing = await context.dashboard.html(context.guard.form_token(cookie(request, BROWSER)))
    return HTMLResponse(drawing, headers={"Cache-Control": "no-store"})


@router.get("/jobs")
async def job_list(
    context: Open,
    request: Request,
    state: State | None = None,
    page: Annotated[int, Query(ge=1, le=api.LAST_PAGE)] = 1,
) -> HTMLResponse:
    """All jobs, or those in one state, the newest first."""
    wanted = reports.Filter(state=state)
    found = await context.pool.read(lambda cursor: reports.list_jobs(cursor, wanted, page))
    return answer(context, request, "jobs.html", found=found, state=state)


@router.get("/jobs/{job_id}")
async def job_page(context: Open, request: Request, job_id: api.JobId) -> HTMLResponse:
    """One job: how far, its attempts, its conditions, its speed."""
    detail = await api.detail(context, job_id)
    look = context.monitor.look
    moving = {job.id: job for job in look.running} if look else {}
    return answer(
        context,
        request,
        "job.html",
        detail=detail,
        job=detail.job,
        full=models.full_job(detail),
        moving=moving,
        speeds=charts.pages(detail.pages),
    )


@router.get("/docs")
async def docs(context: Open, request: Request) -> HTMLResponse:
    """The description of the API."""
    return answer(context, request, "docs.html", spec=request.app.openapi())


# --- doing ------------------------------------------------------------------------------------------------------------


@router.get("/login")
async def login(context: Authorized, request: Request) -> Response:
    """Ask the browser for the token, once: then it has a session."""
    home = RedirectResponse("/", 303)
    if not context.guard.open:
        home.set_cookie(
            SESSION,
            context.guard.session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return home


@router.post("/logout")
async def logout(context: Open, request: Request, token: Text = "") -> Response:
    """End the session of the browser."""
    context.guard.check_form(request, token)
    home = RedirectResponse("/", 303)
    home.delete_cookie(SESSION)
    return home


@router.post("/jobs/retry")
async def retry_all(context: Authorized, request: Request, token: Text = "") -> Response:
    """Queue every failed job again."""
    context.guard.check_form(request, token)
    await api.retry_all(context)
    return RedirectResponse("/", 303)


@router.post("/jobs/{job_id}/retry")
async def retry(context: Authorized, request: Request, job_id: api.JobId, token: Text = "") -> Response:
    """Queue a job again."""
    context.guard.check_form(request, token)
    await api.retry(context, job_id)
    return _back(request, job_id)


@router.post("/jobs/{job_id}/cancel")
async def cancel(context: Authorized, request: Request, job_id: api.JobId, token: Text = "") -> Response:
    """Cancel a job."""
    context.guard.check_form(request, token)
    await api.cancel(context, job_id)
    return _back(request, job_id)


def _back(request: Request, job_id: int) -> Response:
    """Lead back to the page that the button was on."""
    own = request.headers.get("referer", "").endswith(f"/jobs/{job_id}")
    return RedirectResponse(f"/jobs/{job_id}" if own else "/", 303)


@router.post("/jobs")
async def submit(  # noqa: PLR0913, PLR0917 -- the fields of the form
    context: Authorized,
    request: Request,
    form: Text = "",
    place: Text = "",
    start_date: Text = "",
    finish_date: Text = "",
    extension: Text = "csv",
    wish: Text = "submit",
    token: Text = "",
) -> Response:
    """Queue what a form asks for, or say how many rows that would be."""
    context.guard.check_form(request, token)
    filled = {
        "form": form,
        "place": place,
        "start_date": start_date,
        "finish_date": finish_date,
        "extension": extension,
    }
    if not context.settings.embedded:
        return await _index(context, request, filled, problem="здесь формы заполняют в веб-интерфейсе", status=404)
    try:
        chosen = choices.find(form)
        wanted = choices.job(chosen, place, start_date, finish_date, extension)
        if wish == "estimate":
            rows = await context.estimates.count(chosen, place, start_date, finish_date)
            return await _index(context, request, filled, estimate=f"{words.count(rows, 'строка', 'строки', 'строк')}")
        await api.queue(context, wanted)
    except QueueError as error:
        return await _index(context, request, filled, problem=models.reason(str(error)), status=422)
    return RedirectResponse("/#live", 303)


@router.get("/estimate")
async def estimate(
    context: Open, form: str = "", place: str = "", start_date: str = "", finish_date: str = ""
) -> PlainTextResponse:
    """How many rows a form asks for, for the script: a line of text."""
    if not context.settings.embedded:
        return PlainTextResponse("", 404)
    try:
        rows = await context.estimates.count(choices.find(form), place, start_date, finish_date)
    except QueueError as error:
        return PlainTextResponse(models.reason(str(error)), 422)
    return PlainTextResponse(words.count(rows, "строка", "строки", "строк"))
