"""For a worker behind a broker: its loop comes upon something that nobody has foreseen, at the first message."""

from pathlib import Path

import dispatch
from db import Cursor

_taken = dispatch.taken
#: In the worker's folder: it has happened.
MARK = Path("crashed")


def taken(cursor: Cursor, job_id: int) -> None:
    """Fail once, and do as usual from then on."""
    if not MARK.exists():
        MARK.touch()
        raise ZeroDivisionError("nobody has foreseen this")
    _taken(cursor, job_id)


dispatch.taken = taken
