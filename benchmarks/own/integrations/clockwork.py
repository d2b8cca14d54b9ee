"""Schedules that are due every second, and the job that writes down when it began."""

from processings import processing
from schedules import Schedule
from tasks import Task

#: How many there are.
COUNT = 25
#: Where a job writes its planned time, and the moment of its first statement.
TABLE = "CREATE TABLE punctual (planned_at timestamptz, began_at timestamptz DEFAULT clock_timestamp())"
SCHEDULES = tuple(
    Schedule(f"second {number}", "* * * * * *", "tell_time", missed="all", overlap="queue") for number in range(COUNT)
)


@processing("tell_time")
def tell_time(task: Task) -> None:
    """Write down when the job began."""
    with task.database.statement() as cursor:
        cursor.execute("INSERT INTO punctual VALUES ((%s::json ->> 'planned_at')::timestamptz)", (task.job.params,))
