"""The table `reports`, made from the given `orders` and `order_items`: every statement about it."""

import datetime
from dataclasses import dataclass
from datetime import date
from typing import Final

import progress
from db import Cursor
from progress import Progress
from tasks import Task

#: First key of the advisory lock that lets one job at a time replace a day ("repo" in ASCII); the second is the day.
LOCK: Final = 0x7265706F

# Rows that stay keep their id. Those of orders that are gone, or have nothing in them any more, go.
_REPLACE = """
WITH counted AS (
    SELECT orders.id, sum(order_items.quantity) AS quantity
    FROM orders JOIN order_items ON order_items.order_id = orders.id
    WHERE orders.created_at >= %(begins)s AND orders.created_at < %(ends)s
    GROUP BY orders.id HAVING sum(order_items.quantity) <> 0
), stale AS (
    DELETE FROM reports WHERE report_at = %(day)s AND NOT EXISTS (SELECT FROM counted WHERE counted.id = order_id)
)
INSERT INTO reports (report_at, order_id, count_product)
SELECT %(day)s, id, quantity FROM counted ORDER BY id
ON CONFLICT (report_at, order_id) DO UPDATE SET count_product = excluded.count_product
"""

_COLUMNS = "id, report_at, order_id, count_product"


@dataclass(frozen=True)
class Row:
    """A row of `reports`."""

    id: int
    report_at: date
    order_id: int
    count_product: int


@dataclass(frozen=True)
class Totals:
    """What a day comes to."""

    orders: int
    products: int


def replace(task: Task, day: date, bounds: tuple[datetime.datetime, datetime.datetime], made: Progress) -> None:
    """Make the rows of a day what its orders say now, and record the progress: both, or neither.

    Args:
        task: the attempt that does it.
        day: under which the rows stand.
        bounds: the orders' moments, the first included, the second not. An order's time that has no time zone is UTC.
        made: how far the job is with this day.

    Raises:
        LostJob: another worker owns the job.
        Cancelled: nobody wants it any more.
        DatabaseAway: nothing was done.
    """
    seconds = task.settings.job_timeout
    with task.database.transaction(seconds) as cursor:
        # The child's usual limits are meant for statements on few rows.
        cursor.execute(
            "SELECT set_config('statement_timeout', %(limit)s, true), set_config('lock_timeout', '0', true),"
            " set_config('timezone', 'UTC', true)",
            {"limit": str(round(seconds * 1000))},
        )
        # A statement of its own: the next one must see what whoever held the lock has committed.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK, day.toordinal()))
        cursor.execute(_REPLACE, {"day": day, "begins": bounds[0], "ends": bounds[1]})
        progress.record(cursor, task.job.fence, made)
    task.rows = made.rows


def of_day(cursor: Cursor, day: date, count: int | None = None, page: int = 1) -> list[Row]:
    """Return the rows of a day by order: all of them, or a page of `count`."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM reports WHERE report_at = %s ORDER BY order_id LIMIT %s OFFSET %s",  # noqa: S608
        (day, count, (page - 1) * (count or 0)),
    )
    return [Row(*row) for row in cursor.fetchall()]


def of_all(cursor: Cursor, count: int, page: int) -> tuple[list[Row], int]:
    """Return a page of all rows, the newest day first, and how many rows there are on all pages."""
    cursor.execute(
        f"SELECT total.count, page.* FROM (SELECT count(*) FROM reports) total"  # noqa: S608
        f" LEFT JOIN (SELECT {_COLUMNS} FROM reports ORDER BY report_at DESC, order_id LIMIT %s OFFSET %s) page ON true"
        " ORDER BY report_at DESC, order_id",
        (count, (page - 1) * count),
    )
    found = cursor.fetchall()
    return [Row(*row[1:]) for row in found if row[1] is not None], int(found[0][0])


def totals(cursor: Cursor, day: date) -> Totals:
    """Return how many orders a day's report has, and how many products are in them."""
    cursor.execute("SELECT count(*), coalesce(sum(count_product), 0) FROM reports WHERE report_at = %s", (day,))
    row = cursor.fetchone() or (0, 0)
    return Totals(int(row[0]), int(row[1]))
