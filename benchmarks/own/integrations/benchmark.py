"""What a job costs that does nothing, or little."""

import hashlib

from processings import processing
from tasks import Task

#: Of a short job: about 10 ms of one core.
ROUNDS = 40_000


@processing("empty", brief=True)
def empty(_task: Task) -> None:
    """Do nothing, in a batch."""


@processing("single")
def single(_task: Task) -> None:
    """Do nothing, in a transaction of its own."""


@processing("short")
def short(_task: Task) -> None:
    """Compute for some milliseconds, as `benchmarks.peers.taskiq_queue` does."""
    hashlib.pbkdf2_hmac("sha256", b"work", b"salt", ROUNDS)
