"""`status --watch`: the queue at a glance once a second, with bars and rows a second."""

import contextlib
import sys
import time
from typing import NoReturn

from rich.live import Live
from rich.text import Text

import db
import listing
import reports
from reports import Status
from speed import Speeds

#: Seconds between two looks.
WATCH_SECONDS = 1.0


def look(database: db.Database) -> Status:
    """Return the queue as it is now."""
    with database.transaction() as cursor:
        return reports.status(cursor)


def watch(database: db.Database, *, as_json: bool) -> NoReturn:
    """Look until KeyboardInterrupt; an outage of the database is shown, not the end.

    Args:
        database: the job table's.
        as_json: a line of JSON a look, none during an outage; otherwise one picture that changes.
    """
    speeds = Speeds()
    with contextlib.ExitStack() as stack:
        live = None if as_json else stack.enter_context(Live(console=listing.console(), auto_refresh=False))
        while True:
            try:
                now = look(database)
            except db.DatabaseAway as error:
                view: object = Text(str(error), style="red")
            else:
                view = listing.status_view(now, rates(speeds, now, time.monotonic()))
                if live is None:
                    listing.print_json(now)
                    sys.stdout.flush()
            if live is not None:
                live.update(view, refresh=True)  # type: ignore[arg-type]
            time.sleep(WATCH_SECONDS)


def rates(speeds: Speeds, status: Status, now: float) -> dict[int, float]:
    """Return the rows a second by job, of those that have moved; `now` in monotonic seconds."""
    found = {job.id: speeds.add((job.id, job.attempt), job.rows, now) for job in status.running}
    speeds.keep({(job.id, job.attempt) for job in status.running})
    return {job: speed for job, speed in found.items() if speed}
