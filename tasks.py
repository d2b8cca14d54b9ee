"""What a processing is given: its job, the settings, the warehouse, and the ways to report and to be stopped."""

from collections.abc import Callable

import jobs
import progress
from db import Database
from dwh import Warehouse
from errors import Interrupted
from settings import Settings


class Task:
    """One attempt of a job, as its processing sees it.

    Args:
        job: the claimed job.
        settings: of this installation.
        database: the job table's PostgreSQL.
        warehouse: gives the open warehouse; connects only when it is called.
        stopping: tells whether the worker was asked to stop.
    """

    def __init__(
        self,
        job: jobs.Job,
        settings: Settings,
        database: Database,
        warehouse: Callable[[], Warehouse],
        stopping: Callable[[], bool],
    ) -> None:
        self.job = job
        self.settings = settings
        self.database = database
        self.warehouse = warehouse
        self.stopping = stopping
        self.rows = job.rows  # in the file, as far as they are recorded

    def record(self, made: progress.Progress) -> None:
        """Record the progress and from where a successor goes on, in one transaction.

        Raises:
            LostJob: somebody else owns the job now.
            Cancelled: the user hid the row.
            DatabaseAway: nothing was recorded.
        """
        with self.database.statement() as cursor:
            progress.record(cursor, self.job.fence, made)
        self.rows = made.rows

    def may_go_on(self) -> None:
        """Raise Interrupted where the worker was asked to stop; call it where the job can be taken up again."""
        if self.stopping():
            raise Interrupted("the worker stops; the job goes on from here later")
