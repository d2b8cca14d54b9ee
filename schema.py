"""The schema: the web UI's tables where they are absent, the queue's own, those of workloads; up, down, how far."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions
from psycopg2.sql import SQL, Identifier

from db import CONNECT_SECONDS, HERE, KEEPALIVE, Cursor, DatabaseAway, is_away, one_line
from errors import QueueError

if TYPE_CHECKING:
    from alembic.config import Config

#: Key of the advisory lock that lets one process at a time migrate ("tksva_q" in ASCII).
MIGRATION_LOCK = 0x746B7376615F71


def migrate(conninfo: str, target: str = "head", workloads: Iterable[str] = ()) -> None:
    """Bring the database to `target`: `head` makes everything, `base` takes the queue's own schema away again.

    The web UI's tables are made only where they are absent, and are never taken away. The tables of `workloads`
    follow; `base` takes away those of every workload that was ever on.

    Raises:
        DatabaseAway: the server cannot be reached, or broke the connection.
        QueueError: the schema is newer than this code, and nothing was changed; or the server does not let it. The
            queue's tables are one transaction, those of each workload another: what came before stays.
    """
    from alembic import command  # noqa: PLC0415 -- a third of a second that only a migration needs

    conninfo = psycopg2.extensions.make_dsn(conninfo, connect_timeout=CONNECT_SECONDS, **KEEPALIVE)
    try:
        with _locked(conninfo) as cursor:
            if target == "base":
                made = [*(name for name in trees() if current(cursor, name)), ""]
                _refuse_newer(cursor, made)
                for tree in made:
                    command.downgrade(alembic_config(conninfo, tree), target)
                # Alembic's version tables are the last things in it.
                cursor.execute("DROP SCHEMA IF EXISTS tksva_q CASCADE")
            else:
                wanted = ["", *(name for name in workloads if name in trees())]
                _refuse_newer(cursor, wanted)
                for tree in wanted:
                    command.upgrade(alembic_config(conninfo, tree), target)
    except psycopg2.Error as error:
        if is_away(error):
            raise DatabaseAway(one_line(error)) from error
        raise QueueError(f"the schema tksva_q cannot be brought to {target}: {one_line(error)}") from error


#: The migrations of the queue itself; those of a workload stand in a folder of its name beside it.
_CORE = "versions"


def trees() -> list[str]:
    """Return the names of the workloads that have migrations of their own."""
    folders = sorted(path.parent.name for path in (HERE / "migrations").glob("*/0001_*.py"))
    return [name for name in folders if name != _CORE]


def head(tree: str = "") -> str:
    """Return the schema version that this code wants, of the queue or of a workload: the newest file by name."""
    return max(path.name.split("_", 1)[0] for path in (HERE / "migrations" / (tree or _CORE)).glob("[0-9]*.py"))


def current(cursor: Cursor, tree: str = "") -> str | None:
    """Return the schema version of the database, None where the queue, or the workload, has never been."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"tksva_q.{_version_table(tree)}",))
    if not _one(cursor)[0]:
        return None
    cursor.execute(SQL("SELECT version_num FROM {}").format(Identifier("tksva_q", _version_table(tree))))
    row = cursor.fetchone()
    return str(row[0]) if row else None


def _refuse_newer(cursor: Cursor, versioned: Iterable[str]) -> None:
    for tree in versioned:
        version, ours = current(cursor, tree), head(tree)
        if version is not None and version > ours:
            whose = f"the schema of {tree}" if tree else "the schema tksva_q"
            raise QueueError(f"{whose} is at version {version}, newer than this code ({ours}): update the code")


def outdated(cursor: Cursor, workloads: Iterable[str]) -> list[str]:
    """Return the workloads whose tables are not as this code wants them."""
    return [name for name in workloads if name in trees() and current(cursor, name) != head(name)]


def _version_table(tree: str) -> str:
    return f"alembic_version_{tree}" if tree else "alembic_version"


def alembic_config(conninfo: str, tree: str = "") -> "Config":
    """Return Alembic's configuration for this database; `migrations/env.py` reads the connection string from it."""
    from alembic.config import Config  # noqa: PLC0415 -- see migrate

    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("version_locations", str(HERE / "migrations" / (tree or _CORE)).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["conninfo"] = conninfo
    config.attributes["version_table"] = _version_table(tree)
    return config


@contextlib.contextmanager
def _locked(conninfo: str) -> Iterator[Cursor]:
    """Hold the advisory lock under which two daemons that start together migrate one after the other."""
    connection = psycopg2.connect(conninfo)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            yield cursor
    finally:
        connection.close()


def _one(cursor: Cursor) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise QueueError("the database returned no row where one was certain")
    return row
