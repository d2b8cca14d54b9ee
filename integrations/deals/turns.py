"""Whose turn it is to ask Bitrix24: so many requests a second, of all processes of all machines together.

A turn lasts from before the request until its answer and a whole window after it, so that no late packet and no busy
machine can bring one request too many into any second, as whoever is asked counts them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from db import Cursor
from tasks import Task

#: Seconds between two looks, at most: how soon a worker that is asked to stop hears it.
LOOK_SECONDS = 0.1


@contextmanager
def turn(task: Task, rate: float) -> Iterator[None]:
    """Wait for a turn, and have it for the block.

    Args:
        task: whose attempt it is; a turn whose attempt has died is free again.
        rate: requests a second.

    Raises:
        Interrupted: the worker was asked to stop.
    """
    turns = max(1, int(rate))
    window = turns / rate
    number = _take(task, turns, window)
    try:
        yield
    finally:
        with task.database.statement() as cursor:
            cursor.execute(
                "UPDATE tksva_q.deal_turn SET job_id = NULL, free_at = clock_timestamp() + make_interval(secs => %s)"
                " WHERE number = %s AND job_id = %s AND attempt = %s",
                (window, number, task.job.id, task.job.attempt),
            )


def _take(task: Task, turns: int, window: float) -> int:
    while True:
        task.may_go_on()
        with task.database.transaction() as cursor:
            number = _free(cursor, task, turns)
            pause = 0.0 if number is not None else _pause(cursor, turns, window)
        if number is not None:
            return number
        time.sleep(pause)


def _free(cursor: Cursor, task: Task, turns: int) -> int | None:
    cursor.execute(
        "WITH free AS (SELECT number FROM tksva_q.deal_turn"
        "   WHERE number < %s AND job_id IS NULL AND free_at <= clock_timestamp()"
        "   ORDER BY free_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
        " UPDATE tksva_q.deal_turn t SET job_id = %s, attempt = %s FROM free WHERE t.number = free.number"
        " RETURNING t.number",
        (turns, task.job.id, task.job.attempt),
    )
    row = cursor.fetchone()
    return int(row[0]) if row else None


def _pause(cursor: Cursor, turns: int, window: float) -> float:
    """Make what turns are lacking, free those of the dead, and return the seconds until the next look."""
    cursor.execute(
        "INSERT INTO tksva_q.deal_turn (number) SELECT generate_series(0, %s - 1) ON CONFLICT DO NOTHING", (turns,)
    )
    if cursor.rowcount:
        return 0.0
    # The row is compared with what was seen of it: meanwhile another attempt may have it.
    cursor.execute(
        "UPDATE tksva_q.deal_turn t SET job_id = NULL, free_at = clock_timestamp() + make_interval(secs => %s)"
        " FROM tksva_q.deal_turn dead WHERE t.number = dead.number AND t.job_id = dead.job_id"
        "   AND t.attempt = dead.attempt AND NOT EXISTS (SELECT FROM tksva_q.job"
        "     WHERE id = dead.job_id AND job.attempt = dead.attempt AND state = 'running')",
        (window,),
    )
    cursor.execute(
        "SELECT extract(epoch FROM min(free_at) - clock_timestamp())::float FROM tksva_q.deal_turn"
        " WHERE number < %s AND job_id IS NULL",
        (turns,),
    )
    row = cursor.fetchone()
    return LOOK_SECONDS if row is None or row[0] is None else min(max(row[0], 0.002), LOOK_SECONDS)
