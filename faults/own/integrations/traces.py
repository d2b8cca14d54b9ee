"""Work that leaves a trace: how often it was really done can be counted, whatever the queue says of it."""

import time

from processings import processing
from tasks import Task


@processing("trace")
def trace(task: Task) -> None:
    """Take the seconds that the job asks for, and leave a trace."""
    with task.database.statement() as cursor:
        cursor.execute("SELECT (params ->> 'seconds')::float FROM tksva_q.job WHERE id = %s", (task.job.id,))
        row = cursor.fetchone()
    time.sleep(float(row[0]) if row else 0)
    with task.database.statement() as cursor:
        cursor.execute("INSERT INTO trace (job, attempt) VALUES (%s, %s)", (task.job.id, task.job.attempt))
