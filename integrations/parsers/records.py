"""Rows of the parser manager's tables: a page of them, one, a new one, a changed one, none any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg2.errors
from psycopg2.extras import Json
from psycopg2.sql import SQL, Composable, Identifier, Literal

from db import Cursor
from errors import QueueError


class Conflict(QueueError):
    """The database lets the row not be so: there is such a one, or what it refers to is not there."""


class BadValue(QueueError):
    """A value is none that the column holds."""


@dataclass(frozen=True)
class Table:
    """What of a table is shown."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ("id",)
    order: str = "id"  # SQL
    computed: tuple[tuple[str, str], ...] = ()  # column, SQL

    @property
    def _from(self) -> Composable:
        return Identifier("parsers", self.name)

    @property
    def _shown(self) -> Composable:
        own = [SQL("{}.{}").format(Identifier(self.name), Identifier(column)) for column in self.columns]
        more = [SQL("{} AS {}").format(SQL(code), Identifier(name)) for name, code in self.computed]
        return SQL(", ").join([*own, *more])

    @property
    def _names(self) -> list[str]:
        return [*self.columns, *dict(self.computed)]

    def _where(self, wanted: Mapping[str, Any]) -> Composable:
        if not wanted:
            return SQL("true")
        codes = dict(self.computed)
        parts = [
            SQL("{} = {}").format(SQL(codes[name]) if name in codes else Identifier(name), Literal(value))
            for name, value in wanted.items()
        ]
        return SQL(" AND ").join(parts)

    def page(self, cursor: Cursor, wanted: Mapping[str, Any], page: int, size: int) -> tuple[list[dict[str, Any]], int]:
        """Return a page of the rows that have these values (None: any), and how many there are on all pages."""
        where = self._where({name: value for name, value in wanted.items() if value is not None})
        cursor.execute(SQL("SELECT count(*) FROM {} WHERE {}").format(self._from, where))
        total = int((cursor.fetchone() or (0,))[0])
        query = SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {} OFFSET {}")
        cursor.execute(
            query.format(self._shown, self._from, where, SQL(self.order), Literal(size), Literal((page - 1) * size))
        )
        return [dict(zip(self._names, row, strict=True)) for row in cursor.fetchall()], total

    def get(self, cursor: Cursor, *key: Any) -> dict[str, Any] | None:
        """Return the row of a key, None where there is none."""
        where = self._where(dict(zip(self.key, key, strict=True)))
        cursor.execute(SQL("SELECT {} FROM {} WHERE {}").format(self._shown, self._from, where))
        row = cursor.fetchone()
        return None if row is None else dict(zip(self._names, row, strict=True))

    def add(self, cursor: Cursor, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add a row and return it; raise Conflict or BadValue."""
        names = SQL(", ").join(map(Identifier, values))
        given = SQL(", ").join(_literal(value) for value in values.values())
        query = SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}")
        _execute(cursor, query.format(self._from, names, given, self._shown))
        return dict(zip(self._names, cursor.fetchone() or (), strict=True))

    def change(self, cursor: Cursor, values: Mapping[str, Any], *key: Any) -> dict[str, Any] | None:
        """Change a row and return it, None where there is none; raise Conflict or BadValue."""
        touched = {"updated_at": SQL("now()")} if "updated_at" in self.columns else {}
        parts = {name: _literal(value) for name, value in values.items()} | touched
        if not parts:
            return self.get(cursor, *key)
        sets = SQL(", ").join(SQL("{} = {}").format(Identifier(name), value) for name, value in parts.items())
        where = self._where(dict(zip(self.key, key, strict=True)))
        query = SQL("UPDATE {} SET {} WHERE {} RETURNING {}")
        _execute(cursor, query.format(self._from, sets, where, self._shown))
        row = cursor.fetchone()
        return None if row is None else dict(zip(self._names, row, strict=True))

    def remove(self, cursor: Cursor, *key: Any) -> bool:
        """Delete a row, and tell whether there was one; raise Conflict where others refer to it."""
        where = self._where(dict(zip(self.key, key, strict=True)))
        _execute(cursor, SQL("DELETE FROM {} WHERE {}").format(self._from, where), "на запись ссылаются другие")
        return cursor.rowcount > 0


def _literal(value: Any) -> Composable:
    return Literal(Json(value) if isinstance(value, dict) else value)


def _execute(cursor: Cursor, query: Composable, absent: str = "записи, на которую ссылаются, нет") -> None:
    try:
        cursor.execute(query)
    except psycopg2.errors.UniqueViolation:
        raise Conflict("такая запись уже есть") from None
    except psycopg2.errors.ForeignKeyViolation:
        raise Conflict(absent) from None
    except (psycopg2.errors.CheckViolation, psycopg2.DataError) as error:
        raise BadValue(f"недопустимое значение: {error.diag.column_name or error.diag.constraint_name or ''}") from None


SOURCES = Table(
    "source",
    ("id", "name", "type", "external_id", "is_active", "settings", "created_at", "updated_at"),
)
TASK_TYPES = Table("task_type", ("id", "code", "title", "interval_seconds", "timeout_seconds", "is_active"))
SOURCE_TASK_TYPES = Table(
    "source_task_type",
    ("source_id", "task_type_id", "is_active", "interval_seconds"),
    key=("source_id", "task_type_id"),
    order="source_id, task_type_id",
)
GROUPS = Table(
    "task_group",
    ("id", "task_type_id", "source_type", "planned_for", "expires_at", "created_at", "updated_at"),
    order="id DESC",
    computed=(
        ("status", "parsers.group_status(task_group.id)"),
        ("tasks", "(SELECT count(*) FROM parsers.task WHERE task.group_id = task_group.id)"),
    ),
)
TASKS = Table(
    "task",
    (
        *("id", "group_id", "source_id", "status", "payload", "items"),
        *("created_at", "sent_at", "started_at", "finished_at", "error"),
    ),
    order="created_at DESC, id",
)
