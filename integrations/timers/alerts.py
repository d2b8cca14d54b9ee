"""The life of an alert: opened, repeated, acknowledged, closed. One problem is one open alert."""

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from db import Cursor

#: What each stage of its life puts before the title of a message.
_OPENED, _REPEATED, _CLOSED = "", "Повторно: ", "Закрыто: "


@dataclass(frozen=True)
class Problem:
    """Something that a person has to know while it lasts."""

    key: str  # what it is about
    job: str
    kind: str  # error, warning, info
    title: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)  # for whoever reads the alerts by machine


@dataclass(frozen=True)
class Alert:
    """An open alert."""

    id: int
    created_at: datetime.datetime
    job: str
    kind: str
    title: str
    message: str
    acknowledged: bool
    acknowledged_at: datetime.datetime | None
    acknowledged_by: str | None


def keep(
    cursor: Cursor,
    problems: Iterable[Problem],
    now: datetime.datetime,
    repeat: datetime.timedelta,
    channels: Iterable[str],
) -> None:
    """Open alerts for new problems, repeat those that last, close those that are over; queue what is to be said.

    Args:
        cursor: in a transaction.
        problems: everything that is wrong now.
        now: the moment of judgement.
        repeat: after how long an alert that nobody has acknowledged is said again.
        channels: where it is said.
    """
    cursor.execute("LOCK TABLE tksva_q.timer_problem IN SHARE ROW EXCLUSIVE MODE")  # one judge at a time
    wrong, channels = {problem.key: problem for problem in problems}, tuple(channels)
    cursor.execute(
        "SELECT p.alert_id, p.problem, p.repeated_at, a.acknowledged, a.title, a.message"
        " FROM tksva_q.timer_problem p JOIN zakaz.alerts a USING (alert_id) WHERE p.closed_at IS NULL"
    )
    known = set()
    for alert_id, key, repeated_at, acknowledged, title, message in cursor.fetchall():
        known.add(key)
        if key not in wrong:
            cursor.execute("UPDATE tksva_q.timer_problem SET closed_at = %s WHERE alert_id = %s", (now, alert_id))
            _say(cursor, alert_id, channels, _CLOSED + title, message, now)
        elif not acknowledged and now - repeated_at >= repeat:
            cursor.execute("UPDATE tksva_q.timer_problem SET repeated_at = %s WHERE alert_id = %s", (now, alert_id))
            _say(cursor, alert_id, channels, _REPEATED + title, wrong[key].message, now)
    for key, problem in wrong.items():
        if key not in known:
            _open(cursor, problem, now, channels)


def _open(cursor: Cursor, problem: Problem, now: datetime.datetime, channels: tuple[str, ...]) -> None:
    cursor.execute(
        "INSERT INTO zakaz.alerts (created_at, job, alert_type, title, message, details)"
        " VALUES (%s, %s, %s, %s, %s, %s::jsonb) RETURNING alert_id",
        (now, problem.job, problem.kind, problem.title, problem.message, json.dumps(problem.details)),
    )
    alert_id = (cursor.fetchone() or (0,))[0]
    cursor.execute(
        "INSERT INTO tksva_q.timer_problem (alert_id, problem, repeated_at) VALUES (%s, %s, %s)",
        (alert_id, problem.key, now),
    )
    _say(cursor, alert_id, channels, _OPENED + problem.title, problem.message, now)


def _say(  # noqa: PLR0913, PLR0917 -- one row for each channel
    cursor: Cursor, alert_id: int, channels: tuple[str, ...], subject: str, body: str, now: datetime.datetime
) -> None:
    for channel in channels:
        cursor.execute(
            "INSERT INTO tksva_q.timer_message (alert_id, channel, subject, body, next_at) VALUES (%s, %s, %s, %s, %s)",
            (alert_id, channel, subject, body, now),
        )


def acknowledge(cursor: Cursor, alert_id: int, who: str) -> bool:
    """Note that a person knows of an alert; False where there is none that is open and unknown."""
    cursor.execute(
        "UPDATE zakaz.alerts SET acknowledged = true, acknowledged_at = clock_timestamp(), acknowledged_by = %s"
        " WHERE alert_id = %s AND NOT acknowledged AND EXISTS (SELECT FROM tksva_q.timer_problem p"
        "   WHERE p.alert_id = alerts.alert_id AND p.closed_at IS NULL)",
        (who, alert_id),
    )
    return bool(cursor.rowcount)


def open_alerts(cursor: Cursor) -> list[Alert]:
    """Return the open alerts, the newest first."""
    cursor.execute(
        "SELECT a.alert_id, a.created_at, a.job, a.alert_type, a.title, a.message, a.acknowledged, a.acknowledged_at,"
        " a.acknowledged_by FROM zakaz.alerts a JOIN tksva_q.timer_problem p USING (alert_id)"
        " WHERE p.closed_at IS NULL ORDER BY a.created_at DESC, a.alert_id DESC"
    )
    return [Alert(*row) for row in cursor.fetchall()]
