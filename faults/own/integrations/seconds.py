"""Schedules that are due every second."""

from processings import processing
from schedules import Schedule
from tasks import Task

#: How many there are.
COUNT = 50
#: Missed slots are made up, however long no daemon lives; a job waits for the one before it.
SCHEDULES = tuple(
    Schedule(f"second {number}", "* * * * * *", "nothing", missed="all", overlap="queue") for number in range(COUNT)
)


@processing("nothing")
def nothing(_task: Task) -> None:
    """Do nothing."""
