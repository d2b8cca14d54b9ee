"""How an attempt ends: which faults are tried again, after which pause, and when a job has failed for good."""

import random

from db import DatabaseAway, one_line, unforeseen
from errors import (
    Cancelled,
    Interrupted,
    LostJob,
    Postponed,
    QueueError,
    StorageError,
    StoreAway,
    UserError,
    WarehouseError,
)
from jobs import CANCELLED, Job, Settlement

#: Seconds before the second attempt; every further pause is PAUSE_FACTOR times as long, up to PAUSE_LIMIT.
PAUSE_SECONDS = 5.0
PAUSE_FACTOR = 4.0
PAUSE_LIMIT = 900.0
#: The longest pause of a job that waits for the store of FILES_URL: its file is ready.
STORE_PAUSE_LIMIT = 120.0
#: The part of a pause by which it is shorter or longer at random.
PAUSE_JITTER = 0.2
#: Rows below which a page is not halved again after an out-of-memory kill.
SMALLEST_PAGE = 500

DONE = Settlement("done", "done")
NOT_BEGUN = Settlement("waiting", "given back", "its batch had no time for it", refund=True)


def pause(spent: int, first: float | None = None) -> float:
    """Return the seconds before the attempt after `spent` ones: exponential, with jitter of a fifth either way.

    Args:
        spent: attempts so far.
        first: seconds before the second one, where they are the job's own.
    """
    return _pause(spent, first) * random.uniform(1 - PAUSE_JITTER, 1 + PAUSE_JITTER)  # noqa: S311 -- jitter, not a secret


def _pause(spent: int, first: float | None) -> float:
    exponent = min(spent - 1, 10)  # past the limit, and far from what a float cannot hold
    return min(max(PAUSE_LIMIT, first or 0.0), (PAUSE_SECONDS if first is None else first) * PAUSE_FACTOR**exponent)


def longest_pauses(attempts: int, first: float | None = None) -> float:
    """Return the seconds that the pauses between so many attempts take together, at most."""
    return sum(_pause(spent, first) for spent in range(1, attempts)) * (1 + PAUSE_JITTER)


def after_error(job: Job, error: BaseException, max_attempts: int, page: int) -> Settlement | None:
    """Return how the attempt of `job` ends that raised `error`; None where its row is not this worker's to write.

    Args:
        job: the claimed job.
        error: what its processing raised.
        max_attempts: attempts before `ошибка`.
        page: rows per page of this attempt.
    """
    end: Settlement | None
    reason = one_line(error)
    match error:
        case LostJob() | DatabaseAway():
            end = None
        case Interrupted():
            end = Settlement("waiting", "given back", reason, refund=True)
        case Postponed():
            end = Settlement("waiting", "given back", reason, delay=error.seconds, refund=True)
        case StoreAway():
            delay = min(STORE_PAUSE_LIMIT, pause(job.attempt - job.spent + 1, job.pause_seconds))
            end = Settlement("waiting", "given back", reason, delay=delay, refund=True)
        case Cancelled():
            end = Settlement("cancelled", "cancelled", reason)
        case UserError():
            end = Settlement("failed", "failed", reason)
        case MemoryError():
            end = after_fault(job, "out of memory", max_attempts, chunk_size=smaller(page))
        case RowsChanged() | StorageError():
            end = after_fault(job, reason, max_attempts, restart=True)
        case QueueError():
            end = after_fault(job, reason, max_attempts)
        case _:
            end = after_fault(job, unforeseen(error), max_attempts)
    return end


def after_fault(
    job: Job, reason: str, max_attempts: int, *, restart: bool = False, chunk_size: int | None = None
) -> Settlement:
    """Return the end of an attempt by a fault that may pass: another one after a pause, or failed after the last."""
    if job.spent >= (job.max_attempts or max_attempts):
        return Settlement("failed", "failed", reason)
    return Settlement(
        "waiting", "retry", reason, delay=pause(job.spent, job.pause_seconds), restart=restart, chunk_size=chunk_size
    )


def after_loss(job: Job, reason: str, max_attempts: int) -> Settlement:
    """Return the end of an attempt that its worker could not end: the worker died, or lost the database.

    It is not counted when it had added rows: the loss was not the job's doing, and a job that moves forward
    comes to an end. Otherwise it is, so that a job which takes its worker down each time does not go on for ever.
    """
    if job.cancel:
        return CANCELLED
    if job.spent >= (job.max_attempts or max_attempts) and not job.moved:
        return Settlement("failed", "failed", reason)
    return Settlement("waiting", "given back", reason, refund=job.moved)


def smaller(page: int) -> int:
    """Return the rows per page after an out-of-memory kill at `page` rows."""
    return max(min(page, SMALLEST_PAGE), page // 2)


class RowsChanged(WarehouseError):
    """The warehouse gave another number of rows than it had counted: the table changed under the export."""
