"""What a job costs that does nothing, or little."""

import hashlib

from processings import processing
from tasks import Task

#: Of a short job: about 10 ms of one core.
ROUNDS = 40_000


@processing("empty")
def empty(_task: Task) -> None:
    """Do nothing."""


@processing("short")
def short(_task: Task) -> None:
    """Compute for some milliseconds, as `benchmarks.peers.taskiq_queue` does."""
    hashlib.pbkdf2_hmac("sha256", b"work", b"salt", ROUNDS)
