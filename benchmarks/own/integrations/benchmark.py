"""What a job costs that does nothing."""

from processings import processing
from tasks import Task


@processing("empty")
def empty(_task: Task) -> None:
    """Do nothing."""
