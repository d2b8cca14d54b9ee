"""Daily order reports: every night one row in `reports` for each order of the day before, counted by one statement.

The same job makes one day at an hour of the clock, one day that somebody asked for, or a long period day by day; it
goes on after an interruption where it was. What a day is, `days.py` says; the statements stand in `table.py`.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from errors import SettingsError
from integrations.daily_reports import days, table
from processings import Processing, add
from progress import Progress
from schedules import Schedule, check
from setting_values import stripped
from settings import Part, load_part
from tasks import Task

if TYPE_CHECKING:
    from fastapi import APIRouter

TITLE = "Отчёты"
#: What a job of this workload is called by.
NAME = "daily_report"
#: Seconds for which a night without a daemon is made up afterwards.
LOOK_BACK = 31 * 86400.0


def _cron(value: Any) -> Any:
    """Refuse what the clock never shows."""
    value = stripped(value)
    try:
        check([Schedule(NAME, value, NAME)])
    except SettingsError as error:
        raise ValueError(str(error).partition(": ")[2].partition(";")[0]) from None
    return value


class ReportSettings(Part):
    """What an installation chooses about its reports."""

    #: IANA name of the time zone whose days are reported, and in which the schedule is meant.
    report_timezone: Annotated[str, BeforeValidator(days.zone_name)] = Field(default="UTC", examples=["Europe/Moscow"])
    #: Cron, five fields, or six with the seconds first: when the day before is reported.
    report_schedule: Annotated[str, BeforeValidator(_cron)] = Field(default="0 0 * * *", examples=["0 0 * * *"])


SETTINGS = ReportSettings


def SCHEDULES() -> tuple[Schedule, ...]:
    """Return the one schedule: each of its slots is another day, so that none may be left out."""
    chosen = load_part(ReportSettings)
    return (
        Schedule(
            "daily_reports",
            chosen.report_schedule,
            NAME,
            zone=chosen.report_timezone,
            missed="all",
            look_back=LOOK_BACK,
            overlap="queue",
        ),
    )


def routes() -> "APIRouter":
    """Return the API and the page."""
    from fastapi import APIRouter  # noqa: PLC0415 -- only the web process pays for it

    from integrations.daily_reports import api, page  # noqa: PLC0415

    both = APIRouter()
    both.include_router(api.router)
    both.include_router(page.router)
    return both


def run(task: Task) -> None:
    """Replace the reports of the job's days, each in a transaction that also records how far the job is.

    Raises:
        UserError: the job names no days.
        LostJob: another worker owns the job; the day was not touched.
        Interrupted: the worker stops, between two days.
    """
    zone = load_part(ReportSettings).report_timezone
    wanted = days.asked(task.job.params, zone).each()
    done = task.job.cursor["days"] if task.job.cursor else 0
    for number, day in enumerate(wanted[done:], done + 1):
        task.may_go_on()
        table.replace(task, day, days.bounds(day, zone), Progress(number, len(wanted), 0, {"days": number}))


add(Processing(NAME, run, check=lambda params: days.asked(params, "UTC")))
