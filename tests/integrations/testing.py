"""Processings for the tests: each behaves badly in its own way, or does nothing at all."""

import os
import signal
import time

import psycopg2

from conditions import Period
from errors import UserError, WarehouseError
from processings import computed, processing
from tasks import Task

IMPORTED_BY = os.getpid()


@processing("empty")
def empty(_task: Task) -> None:
    """Do nothing."""


@processing("importer")
def importer(_task: Task) -> None:
    """Tell which process has imported this module, and which runs it."""
    raise UserError(f"{IMPORTED_BY} {os.getpid()}")


@processing("suicide")
def suicide(_task: Task) -> None:
    """Kill the child, each time."""
    os.kill(os.getpid(), signal.SIGKILL)


@processing("sleepy", time_limit=1.0)
def sleepy(_task: Task) -> None:
    """Take longer than allowed."""
    time.sleep(600)


@processing("endless")
def endless(_task: Task) -> None:
    """Take for ever, and never look whether somebody wants it to stop."""
    while True:
        time.sleep(1)


@processing("faulty")
def faulty(_task: Task) -> None:
    """Fail in a way that may pass."""
    raise WarehouseError("the warehouse is not there")


@processing("broken")
def broken(_task: Task) -> None:
    """Fail by a mistake of the programmer's."""
    raise ZeroDivisionError("a bug")


@processing("hungry")
def hungry(_task: Task) -> None:
    """Run out of memory."""
    raise MemoryError


@processing("patient")
def patient(task: Task) -> None:
    """Wait, over a connection of its own, until the job's params say so."""
    connection = psycopg2.connect(task.database.conninfo)
    connection.autocommit = True
    with connection.cursor() as cursor:
        said: object = None
        while not said:
            time.sleep(0.01)
            cursor.execute("SELECT params ->> 'go' FROM tksva_q.job WHERE id = %s", (task.job.id,))
            said = (cursor.fetchone() or ("gone",))[0]
    connection.close()


@computed(conditions=Period)
def DaysForm(wanted: Period, _task: Task) -> object:
    """The days of a period."""
    import pandas as pd  # noqa: PLC0415 -- only this form pays for it

    return pd.DataFrame({"День": pd.date_range(wanted.start_date, wanted.finish_date)})


@processing("brief", brief=True)
def brief(_task: Task) -> None:
    """Do nothing, in a batch."""


@processing("brief_patient", brief=True)
def brief_patient(task: Task) -> None:
    """Say that it has begun, and hang; a batch is not meant for it."""
    with task.database.statement() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS brief_patient AS SELECT 1")
    time.sleep(600)
