"""The page of the timers: schedules, runs, open alerts, the picture of a day."""

import datetime
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

import timetable
from db import Cursor, Database
from integrations.timers import alerts, definitions, freshness, journal
from web.charts import WIDTH, Bar
from web.context import Authorized, Open
from web.pages import answer
from words import duration

#: Height of a timer's line in the picture.
LINE = 24.0
_DAY = datetime.timedelta(days=1)
_KINDS = {"success": "ok", "error": "bad", "running": "run"}

router = APIRouter()


@router.get("/timers", include_in_schema=False)
async def page(context: Open, request: Request) -> Response:
    """Everything about the timers at a glance."""
    wanted, now = definitions.load(), datetime.datetime.now(datetime.UTC)

    def read(cursor: Cursor) -> dict[str, Any]:
        return {
            "lines": timetable.listing(cursor, [wanted.schedule(name) for name in wanted.timers], now),
            "alerts": alerts.open_alerts(cursor),
            "runs": journal.last_runs(cursor),
            "sources": freshness.look(cursor, wanted, now),
            "bars": gantt(journal.since(cursor, now - _DAY), list(wanted.timers), now),
            "names": list(wanted.timers),
        }

    return answer(context, request, "timers.html", **await context.pool.read(read), line=LINE)


def gantt(runs: list[journal.Run], names: list[str], now: datetime.datetime) -> list[Bar]:
    """Return the runs of the day before `now` as bars, a line for each timer."""
    bars, begin = [], now - _DAY
    for run in runs:
        if run.timer not in names:
            continue
        left = max(0.0, (run.started_at - begin) / _DAY) * WIDTH
        right = min(1.0, ((run.finished_at or now) - begin) / _DAY) * WIDTH
        took = duration(run.seconds) or "идёт"
        text = f"{run.timer}: {run.started_at.astimezone():%H:%M:%S}, {took}, {run.message or run.status}"
        y = names.index(run.timer) * LINE + 4
        bars.append(Bar(left, y, max(2.0, right - left), LINE - 8, _KINDS[run.status], text))
    return bars


@router.post("/timers/alerts/{alert_id}/acknowledge", include_in_schema=False)
async def acknowledge(
    context: Authorized,
    request: Request,
    alert_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
    token: Annotated[str, Form()] = "",
) -> Response:
    """Note that a person knows of an alert."""
    context.guard.check_form(request, token)
    await context.pool.run(lambda database: _acknowledge(database, alert_id))
    return RedirectResponse("/timers", 303)


def _acknowledge(database: Database, alert_id: int) -> None:
    with database.transaction() as cursor:
        alerts.acknowledge(cursor, alert_id, "страница")


@router.get("/api/timers/runs", summary="последние запуски таймеров", tags=["таймеры"])
async def runs(context: Open, timer: definitions.Name | None = None) -> list[dict[str, Any]]:
    """The newest runs, of one timer or of all."""
    found = await context.pool.read(lambda cursor: journal.last_runs(cursor, timer))
    return [asdict(run) for run in found]
