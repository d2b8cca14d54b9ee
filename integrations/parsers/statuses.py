"""What a parser says of a task: read from a message, and what it makes of the task."""

import json
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FINAL = frozenset({"success", "error", "cancelled"})
STATUSES = FINAL | {"in_progress"}
#: Bytes of a message beyond which it is not read, characters of an error that are kept, and the greatest count.
LONGEST_MESSAGE = 4 * 2**20
LONGEST_ERROR = 4000
MOST_ITEMS = 2**63 - 1


class Malformed(ValueError):
    """The message is no status; says why."""


@dataclass(frozen=True)
class Status:
    """A status as a parser has sent it."""

    task_id: str
    status: str  # one of STATUSES
    occurred_at: datetime  # in UTC
    items: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Change:
    """What a task becomes; what is None stays as it is."""

    task_id: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    items: int | None
    error: str | None


def read(body: bytes | None) -> Status:
    """Return the status that a message holds; raise Malformed where it holds none."""
    if not body or len(body) > LONGEST_MESSAGE:
        raise Malformed("сообщение слишком длинное" if body else "сообщение пустое")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"не JSON: {type(error).__name__}") from None
    if not isinstance(said, dict):
        raise Malformed("не объект JSON")
    status = said.get("status")
    if not isinstance(status, str) or status not in STATUSES:
        raise Malformed(f"status: нужно одно из {', '.join(sorted(STATUSES))}")
    return Status(_task_id(said.get("task_id")), status, _moment(said.get("occurred_at")), _items(said), _error(said))


def _task_id(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("task_id: нужен UUID строкой")
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Malformed("task_id: не UUID") from None


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise Malformed("occurred_at: нужно время в ISO 8601")
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Malformed("occurred_at: не время в ISO 8601") from None


def _items(said: dict[str, Any]) -> int | None:
    items = said.get("items")
    if isinstance(items, list):
        return len(items)
    if isinstance(items, float) and math.isfinite(items) and items == int(items):
        items = int(items)
    if items is not None and (not isinstance(items, int) or isinstance(items, bool) or not 0 <= items <= MOST_ITEMS):
        raise Malformed("items: нужно целое число от 0")
    return items


def _error(said: dict[str, Any]) -> str | None:
    error = said.get("error")
    if error is None:
        return None
    if not isinstance(error, str):
        raise Malformed("error: нужна строка")
    return error[:LONGEST_ERROR].replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def fold(current: str, arrived: Sequence[Status]) -> tuple[Change | None, int]:
    """Return what the statuses of one task, in their order, make of it, and how many of them come too late.

    Args:
        current: the task's status.
        arrived: at least one.
    """
    status, started, finished = current, None, None
    items, error, late = None, None, 0
    for one in arrived:
        if status in FINAL:
            late += 1
            continue
        status = one.status
        items = one.items if one.items is not None else items
        error = one.error if one.error is not None else error
        if status in FINAL:
            finished = one.occurred_at
        else:
            started = started or one.occurred_at
    if late == len(arrived):
        return None, late
    return Change(arrived[0].task_id, status, started, finished, items, error), late
