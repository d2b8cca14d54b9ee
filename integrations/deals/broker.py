"""What hands the deals to their workers is PostgreSQL: it is the broker, and its failures are the broker's errors.

They cannot be written down while it is away: they are kept, and written as soon as something comes through.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from db import Database, DatabaseAway

_lock = threading.Lock()
_unwritten = 0


@contextmanager
def noting() -> Iterator[None]:
    """Count it where the block fails because the database is away."""
    try:
        yield
    except DatabaseAway:
        _add(1)
        raise


@contextmanager
def counting(database: Database) -> Iterator[None]:
    """The same, and write down what was counted, if that can be done by the end of the block."""
    try:
        with noting():
            yield
    finally:
        with suppress(DatabaseAway):
            flush(database)


def unwritten() -> int:
    """Return how many this process has not been able to write down."""
    return _unwritten


def flush(database: Database) -> None:
    """Write down what was counted; raise DatabaseAway where it cannot be, and keep it."""
    errors = _unwritten
    if not errors:
        return
    with database.statement() as cursor:
        cursor.execute("UPDATE tksva_q.deal_counter SET number = number + %s WHERE name = 'broker'", (errors,))
    _add(-errors)


def _add(errors: int) -> None:
    global _unwritten  # noqa: PLW0603 -- there is nowhere else to keep them
    with _lock:
        _unwritten += errors
