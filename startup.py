"""Before the loop begins: the schema is brought up to date, and what a crash has left behind is put right."""

import os
import random
import time

import psycopg2

import db
import janitor
import leases
import retention
import schema
import storage
from errors import QueueError
from inbox import adopt_unfinished
from logs import log
from settings import Settings


def prepare(settings: Settings, conninfo: str) -> None:
    """Make the database and the folder such as the loop expects them.

    Raises:
        DatabaseAway: the server cannot be reached.
        QueueError: the schema is newer than this code, or a right is missing.
    """
    database = db.Database(conninfo, "tksva_q start")
    try:
        with database.statement() as cursor:
            version = schema.current(cursor)
            outdated = schema.outdated(cursor, settings.integrations)
        if version != schema.head() or outdated:
            schema.migrate(conninfo, workloads=settings.integrations)
            log.info("schema_migrated", extra={"version": schema.head(), "workloads": ",".join(outdated) or None})
        adopted = adopt_unfinished(database)
        tables = leases.release_stale_locks(database)
        swept = storage.sweep(settings.files_dir, lambda: _live(database))
    except psycopg2.Error as error:
        raise QueueError(f"the database does not let the queue start: {db.one_line(error)}") from error
    finally:
        database.close()
    log.info(
        "started", extra={"adopted": adopted, "unlocked": ",".join(tables) or None, "swept": swept, "pid": os.getpid()}
    )


def _live(database: db.Database) -> list[int]:
    with database.statement() as cursor:
        return retention.live(cursor)


def prepare_when_possible(settings: Settings) -> str:
    """Prepare, waiting for a database that is not there yet: at boot it may come after the queue.

    Returns:
        The connection string of the job table's PostgreSQL.
    """
    waiting = False
    while True:
        try:
            conninfo = db.dsn(settings)
            prepare(settings, conninfo)
        except db.DatabaseAway as error:
            if not waiting:
                log.error("database_away", extra={"reason": str(error)})
                waiting = True
            time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 -- jitter, not a secret
        else:
            janitor.start(settings, conninfo)
            return conninfo
