"""One function per web form, and the register of everything the queue can run.

A form is a function with the form's name. It gets the conditions, checked against the dataclass that the
decorator names, and returns the rows wanted; the queue pages through them, writes the file and the progress.

    @form(reads=ORDERS, conditions=Station)
    def DownloadForStationForm(wanted: Station) -> Extract:
        return Extract(ORDERS, (Equals("Ст. Отправления", wanted.station_name), ...))

A form that computes its rows is a function with `@computed`, which hands over a pandas frame, an iterator of them, or
a small workbook. Work without a file is a function with `@processing`, which gets its `Task`. What is not registered
cannot be called from a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conditions import Period, example, parse
from dwh import During, Equals, Extract
from errors import UserError
from exports import export, file_name
from tasks import Task

#: The warehouse table of container orders; its first column `rownumber` orders the pages and is not exported.
ORDERS = "audit._sales__execution_orders"


@dataclass(frozen=True)
class Processing:
    """Something the queue can run."""

    name: str  # what a row or a job calls it by
    run: Callable[[Task], None]
    reads: str | None = None  # the warehouse table it reads under the Inspector's lock
    check: Callable[[str | None], object] | None = None  # parses the JSON text of the conditions, or raises UserError
    makes_file: bool = False
    time_limit: float | None = None  # seconds an attempt may take, where JOB_TIMEOUT does not fit
    brief: bool = False  # takes milliseconds, and does no harm if it is done again after a crash: see `brief`
    sample: Callable[[], Extract] | None = None  # of made-up conditions: says which columns it asks about


REGISTER: dict[str, Processing] = {}


def form(
    *, reads: str, conditions: type[Any], time_limit: float | None = None
) -> Callable[[Callable[[Any], Extract]], Callable[[Any], Extract]]:
    """Register a web form under the name of the function: conditions in, the rows of `reads` to prepare out.

    Args:
        reads: the warehouse table, as `dwh_tables_info` names it.
        conditions: a dataclass, see `conditions.parse`.
        time_limit: seconds an attempt may take; None for JOB_TIMEOUT.
    """

    def register(function: Callable[[Any], Extract]) -> Callable[[Any], Extract]:
        def check(params: str | None) -> object:
            return parse(conditions, params)

        def run(task: Task) -> None:
            export(task, function(check(task.job.params)))

        def sample() -> Extract:
            return function(example(conditions))

        add(Processing(function.__name__, run, reads, check, makes_file=True, time_limit=time_limit, sample=sample))
        return function

    return register


def computed(
    *, conditions: type[Any], reads: str | None = None, time_limit: float | None = None
) -> Callable[[Callable[[Any, Task], Any]], Callable[[Any, Task], Any]]:
    """Register a web form whose rows are computed: conditions and Task in, what `frames.prepare` takes out.

    Args:
        conditions: a dataclass, see `conditions.parse`.
        reads: the warehouse table that must not be swapped meanwhile, None for none.
        time_limit: seconds an attempt may take; None for JOB_TIMEOUT.
    """

    def register(function: Callable[[Any, Task], Any]) -> Callable[[Any, Task], Any]:
        def check(params: str | None) -> object:
            return parse(conditions, params)

        def run(task: Task) -> None:
            from frames import prepare  # noqa: PLC0415 -- only such a form pays for the import of pandas

            prepare(task, function(check(task.job.params), task))

        add(Processing(function.__name__, run, reads, check, makes_file=True, time_limit=time_limit))
        return function

    return register


def processing(
    name: str, *, reads: str | None = None, time_limit: float | None = None, brief: bool = False
) -> Callable[[Callable[[Task], None]], Callable[[Task], None]]:
    """Register a function that does its work itself, under `name`.

    Args:
        name: what jobs call it by.
        reads: the warehouse table that must not be swapped meanwhile, None for none.
        time_limit: seconds an attempt may take; None for JOB_TIMEOUT.
        brief: it takes milliseconds, and does no harm if it is done again after a crash: up to `brief.BATCH` such jobs
            are claimed and settled together.

    Raises:
        ValueError: the name is another's, or a brief one reads the warehouse.
    """
    if brief and reads is not None:
        raise ValueError(f"{name} reads the warehouse and cannot be brief")

    def register(function: Callable[[Task], None]) -> Callable[[Task], None]:
        add(Processing(name, function, reads, time_limit=time_limit, brief=brief))
        return function

    return register


def add(entry: Processing) -> None:
    """Put an entry into the register; a name is given once."""
    if entry.name in REGISTER:
        raise ValueError(f"two processings are called {entry.name}")
    REGISTER[entry.name] = entry


def find(name: str | None) -> Processing:
    """Return what a job asks for by name, or raise UserError."""
    entry = REGISTER.get(name or "")
    if entry is None:
        raise UserError(f"form_name: нет обработки {(name or '')[:140]!r}")
    return entry


def brief_ones() -> list[str]:
    """Return the names of the processings whose jobs are run in batches."""
    return [entry.name for entry in REGISTER.values() if entry.brief]


def examine(form: str | None, params: str | None, name: str | None) -> str | None:
    """Say which warehouse table a request reads, None for none.

    Args:
        form: name of the processing.
        params: its conditions as JSON text.
        name: of the file to prepare.

    Raises:
        UserError: the request cannot become a job.
    """
    wanted = find(form)
    if wanted.makes_file:
        file_name(name)
    if wanted.check is not None:
        wanted.check(params)
    return wanted.reads


@dataclass(frozen=True)
class Station(Period):
    """Conditions of DownloadForStationForm."""

    station_name: str


@dataclass(frozen=True)
class Railway(Period):
    """Conditions of DownloadForRailwayForm."""

    railway_name: str


@form(reads=ORDERS, conditions=Station)
def DownloadForStationForm(wanted: Station) -> Extract:  # noqa: N802 -- the web form's own name
    """Orders that left one station in a period."""
    days = During("SVOD.Дата отправки", wanted.start_date, wanted.finish_date)
    return Extract(ORDERS, (Equals("Ст. Отправления", wanted.station_name), days))


@form(reads=ORDERS, conditions=Railway)
def DownloadForRailwayForm(wanted: Railway) -> Extract:  # noqa: N802 -- the web form's own name
    """Orders that left the stations of one railway in a period."""
    days = During("SVOD.Дата отправки", wanted.start_date, wanted.finish_date)
    return Extract(ORDERS, (Equals("Дор. Отправления", wanted.railway_name), days))
