"""The two forms as the embedded default offers them: what can be chosen, how many rows that is, which job it makes."""

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import processings
from conditions import Period, parse
from db import Cursor
from dwh import Extract, open_warehouse
from errors import UserError
from settings import Settings
from storage import LONGEST_NAME
from web.models import NewJob

#: Whose files they are: the demo's user.
USER = 1
#: Days that the form asks for at first: the last ones of the warehouse.
DAYS = 90

_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@dataclass(frozen=True)
class Form:
    """A form of the page."""

    name: str  # of the processing
    title: str
    field: str  # which place is chosen
    label: str
    places: str  # the key of `table_info` that lists them
    conditions: type[Period]
    extract: Callable[[Any], Extract]


FORMS = (
    Form(
        "DownloadForStationForm",
        "По станции",
        "station_name",
        "Станция отправления",
        "station_names",
        processings.Station,
        processings.DownloadForStationForm,
    ),
    Form(
        "DownloadForRailwayForm",
        "По дороге",
        "railway_name",
        "Дорога отправления",
        "railway_names",
        processings.Railway,
        processings.DownloadForRailwayForm,
    ),
)


@dataclass(frozen=True)
class Choices:
    """What the warehouse has to choose from."""

    stations: tuple[str, ...] = ()
    railways: tuple[str, ...] = ()
    first_day: datetime.date | None = None
    last_day: datetime.date | None = None

    def places(self, form: Form) -> tuple[str, ...]:
        """Return what a form's place is chosen from."""
        return self.stations if form.places == "station_names" else self.railways

    @property
    def start(self) -> datetime.date | None:
        """The first day that a form asks for at first."""
        if self.first_day is None or self.last_day is None:
            return None
        return max(self.first_day, self.last_day - datetime.timedelta(DAYS - 1))


def read(cursor: Cursor) -> Choices:
    """Return what the Inspector has noted about the table of orders; nothing where he has not yet."""
    cursor.execute("SELECT table_info::text FROM dwh_tables_info WHERE dwh_table_name = %s", (processings.ORDERS,))
    row = cursor.fetchone()
    try:
        info = json.loads(row[0]) if row and row[0] else {}
        return Choices(
            _names(info.get("station_names")),
            _names(info.get("railway_names")),
            _day(info.get("min_date")),
            _day(info.get("max_date")),
        )
    except (ValueError, AttributeError, TypeError):
        return Choices()


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(sorted({name for name in (text or "").split("|") if name.strip()}))


def _day(text: str | None) -> datetime.date | None:
    return datetime.date.fromisoformat(text[:10]) if text else None


def find(name: str) -> Form:
    """Return a form by the name of its processing; raise UserError where there is none."""
    for form in FORMS:
        if form.name == name:
            return form
    raise UserError("такой формы нет")


def job(form: Form, place: str, start: str, finish: str, extension: str) -> NewJob:
    """Return the job that a filled form makes; raise UserError with what is wrong with it."""
    conditions = {form.field: place.strip(), "start_date": start, "finish_date": finish}
    parse(form.conditions, json.dumps(conditions))
    if extension not in {"csv", "xlsx"}:
        raise UserError("формат — csv или xlsx")
    days = f" {start} — {finish}.{extension}"
    return NewJob(
        form=form.name, conditions=conditions, user_id=USER, file_name=_fitting(place.strip(), days), priority=5
    )


def _fitting(place: str, tail: str) -> str:
    """Return a file's name that any system takes."""
    name = _UNFIT.sub("_", place).strip(" .") or "файл"
    while len((name + tail).encode()) > min(LONGEST_NAME, 200) or len(name + tail) > 140:  # noqa: PLR2004 -- the API's limit
        name = name[:-1]
    return name + tail


def estimate(settings: Settings, form: Form, place: str, start: str, finish: str) -> int:
    """Count the rows that a filled form asks for; raise UserError or WarehouseError."""
    conditions = {form.field: place.strip(), "start_date": start, "finish_date": finish}
    warehouse = open_warehouse(settings)
    try:
        return warehouse.count(form.extract(parse(form.conditions, json.dumps(conditions))))
    finally:
        warehouse.close()
