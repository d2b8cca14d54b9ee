"""How far behind the loaded data are: the newest date of each source, today's or an earlier one."""

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import psycopg2
from psycopg2.errors import LockNotAvailable, QueryCanceled
from psycopg2.sql import SQL, Identifier

from db import Cursor, is_away
from integrations.timers.definitions import Definitions, Source

#: Days behind up to which a source is well, and up to which it is only a warning.
OK_DAYS, WARNING_DAYS = 1, 2
#: Seconds that a source's table may take to answer: whoever loads it may have locked it for long.
SECONDS = 1.0


@dataclass(frozen=True)
class Freshness:
    """How fresh a source is."""

    source: str
    latest_date: datetime.date | None  # that is not in the future
    days_behind: int | None
    total_rows: int
    status: str  # ok, warning, error
    text: str


def look(cursor: Cursor, wanted: Definitions, now: datetime.datetime) -> list[Freshness]:
    """Return how fresh the sources are on the day that `now` is in their zone."""
    today = now.astimezone(ZoneInfo(wanted.zone)).date()
    return [_one(cursor, source, today) for source in wanted.sources]


def _one(cursor: Cursor, source: Source, today: datetime.date) -> Freshness:
    latest, rows, fault = None, 0, ""
    cursor.execute("SAVEPOINT source")
    try:
        milliseconds = int(SECONDS * 1000)
        cursor.execute("SET LOCAL lock_timeout = %s; SET LOCAL statement_timeout = %s", (milliseconds, milliseconds))
        cursor.execute(
            SQL("SELECT max({date}::date) FILTER (WHERE {date}::date <= %s), count(*) FROM {table}").format(
                date=Identifier(source.date_column), table=Identifier(*source.table.split("."))
            ),
            (today,),
        )
        latest, rows = cursor.fetchone() or (None, 0)
    except (LockNotAvailable, QueryCanceled):
        fault = "таблица не отвечает"
    except psycopg2.Error as error:  # a table that is not there hides no other
        if is_away(error):
            raise
        fault = "таблица не читается"
    # Also where it was read: with the savepoint go the limits, and the lock that would hold up whoever loads it.
    cursor.execute("ROLLBACK TO SAVEPOINT source")
    if fault:
        return Freshness(source.name, None, None, 0, "error", fault)
    if latest is None:
        return Freshness(source.name, None, None, rows, "error", "нет данных")
    days = (today - latest).days
    status = "ok" if days <= OK_DAYS else "warning" if days <= WARNING_DAYS else "error"
    return Freshness(
        source.name, latest, days, rows, status, f"последняя дата {latest:%d.%m.%Y}, отставание {days} дн."
    )
