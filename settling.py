"""Ends the attempts whose child cannot: it was killed, or could not reach the database."""

import attempts
import jobs
import storage
from db import Database
from errors import LostJob, RowHeld
from logs import log
from settings import Settings
from workers import Death


def settle(database: Database, settings: Settings, job: jobs.Job, death: Death | None) -> bool:
    """End the attempt of a job that nobody works on any more, and say so in the log.

    Args:
        database: the loop's own.
        settings: of this installation.
        job: as the database has it, running at this worker.
        death: how its child died; None where it lives and had lost the database.

    Returns:
        Whether it has ended: not while somebody holds its row, for the loop waits for nobody.
    """
    end = end_of(job, death, settings)
    try:
        with database.transaction() as cursor:
            jobs.lock_or_leave(cursor, job.id)
            end = jobs.settle(cursor, job.fence, job.dwh_table, end)
    except LostJob:  # somebody was quicker
        return True
    except RowHeld:
        return False
    if end.state in {"failed", "cancelled"}:
        _remove_parts(settings, job)
    log.warning(
        "job_" + end.outcome.replace(" ", "_"),
        extra={"job": job.id, "attempt": job.attempt, "form": job.form, "user": job.user_id, "reason": end.reason},
    )
    return True


def end_of(job: jobs.Job, death: Death | None, settings: Settings) -> jobs.Settlement:
    """Return how the attempt ends: what the death was decides whether it counts, and what the next one changes."""
    # Claimed ahead of the one that its child was at, or done and not written down yet.
    beside = death is not None and death.started is not None and death.started.job.fence != job.fence
    if job.cancel:
        return jobs.CANCELLED
    if death is None:
        return attempts.after_loss(job, "its worker lost the database", settings.max_attempts)
    if beside or death.cause == "stopping":
        why = "its process ended with another job" if beside else "the worker stops"
        return jobs.Settlement("waiting", "given back", why, refund=True)
    if death.cause == "lease lost":
        return attempts.after_loss(job, death.reason, settings.max_attempts)
    page = job.chunk_size or settings.chunk_size
    smaller = attempts.smaller(page) if death.out_of_memory else None
    return attempts.after_fault(job, death.reason, settings.max_attempts, chunk_size=smaller)


def clear_parts(database: Database, settings: Settings, job: jobs.Job) -> None:
    """Remove the part files of a job that was taken back from a dead worker and does not go on."""
    with database.statement() as cursor:
        cursor.execute("SELECT state IN ('failed', 'cancelled') FROM tksva_q.job WHERE id = %s", (job.id,))
        row = cursor.fetchone()
    if row and row[0]:
        _remove_parts(settings, job)


def _remove_parts(settings: Settings, job: jobs.Job) -> None:
    if job.user_id is not None:
        storage.remove_parts(settings.files_dir, job.user_id, job.id, job.attempt)
