"""Statements that PostgreSQL keeps planned: to plan one of the queue's takes it longer than to run it."""

import re
import time
from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

import psycopg2.extensions

from db import Cursor

#: Seconds that a connection keeps its plans: one made while the table was empty must not read it whole for ever.
PLAN_SECONDS: Final = 10.0

Connection = psycopg2.extensions.connection

_PLACE = re.compile(r"%\((\w+)\)s")

_pooled = False


def go_without() -> None:
    """Send every statement in full from now on: a pooler may give each transaction another server connection."""
    global _pooled  # noqa: PLW0603 -- a process has one way to its database
    _pooled = True


_planned: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


class Prepared:
    """A statement that is parsed once a connection and planned once in PLAN_SECONDS.

    Args:
        name: of the prepared statement, one word; a connection knows one statement by it.
        text: SQL with `%(key)s` placeholders; where the server cannot tell a value's type, the text must (`::int`).
    """

    def __init__(self, name: str, text: str) -> None:
        self.text = text
        keys = list(dict.fromkeys(_PLACE.findall(text)))
        numbered = _PLACE.sub(lambda found: f"${keys.index(found[1]) + 1}", text).replace("%%", "%")
        values = ", ".join(f"%({key})s" for key in keys)
        self._prepare = f"PREPARE {name} AS {numbered}"
        self._execute = f"EXECUTE {name}({values})" if keys else f"EXECUTE {name}"
        self._known: WeakSet[Connection] = WeakSet()

    def run(self, cursor: Cursor, values: Mapping[str, object] | None = None) -> None:
        """Execute the statement; its rows are the cursor's."""
        if _pooled:
            cursor.execute(self.text, values or {})
            return
        connection, now = cursor.connection, time.monotonic()
        if connection not in self._known:
            cursor.execute(self._prepare)
            self._known.add(connection)
        stale = now > _planned.setdefault(connection, now) + PLAN_SECONDS
        if stale:
            _planned[connection] = now
        cursor.execute(f"DISCARD PLANS; {self._execute}" if stale else self._execute, values)
