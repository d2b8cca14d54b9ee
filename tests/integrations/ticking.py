"""A workload for the tests whose schedules are due every second."""

from processings import processing
from schedules import Schedule
from tasks import Task

SCHEDULES = tuple(
    Schedule(f"tick {number}", "* * * * * *", "tick", missed="all", overlap="queue") for number in range(10)
)


@processing("tick")
def tick(_task: Task) -> None:
    """Do nothing."""
