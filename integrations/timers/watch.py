"""Every minute: end the runs of the dead, judge the rules of alerts, switch reserves, say what is to be said."""

import datetime

import timetable
from db import CALL_SECONDS, Cursor, Database
from integrations.timers import alerts, channels, checks, definitions, freshness, journal, outbox
from integrations.timers.alerts import Problem
from integrations.timers.definitions import Definitions

#: Failures in a row after which the reserve steps in.
FAILURES = 3

# A run that is to be tried again is not the last word; neither is one that still runs, nor one that was stopped.
_OUTCOMES = """
SELECT m.status, m.message, m.started_at FROM (
    SELECT DISTINCT ON (r.job_id) r.job_id, m.status, m.message, m.started_at
    FROM tksva_q.timer_run r JOIN zakaz.meta_job_runs m USING (job, started_at)
    LEFT JOIN tksva_q.job j ON j.id = r.job_id
    WHERE r.timer = %(timer)s AND (j.state IS NULL OR j.state NOT IN ('waiting', 'running', 'cancelled'))
    ORDER BY r.job_id DESC, r.attempt DESC LIMIT %(limit)s
) m WHERE m.status <> 'running'
ORDER BY m.started_at DESC
"""


def look(database: Database, now: datetime.datetime | None = None) -> None:
    """Do everything that is due.

    Args:
        database: of the queue.
        now: the moment of judgement, None for this one.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    wanted, settings = definitions.load(), definitions.options()
    patience = CALL_SECONDS + freshness.SECONDS * len(wanted.sources)
    with database.transaction(patience) as cursor:
        journal.close_dead(cursor)
        checks.notice(cursor, wanted, now)
        problems = [
            *failures(cursor, wanted),
            *reserves(cursor, wanted),
            *stale(cursor, wanted, now),
            *silent(cursor, wanted, now),
        ]
        repeat = datetime.timedelta(hours=settings.alert_repeat_hours)
        alerts.keep(cursor, problems, now, repeat, channels.names(settings))
    channels.send_due(database, settings, now)
    outbox.drain(database, settings)


def failures(cursor: Cursor, wanted: Definitions) -> list[Problem]:
    """Return the timers whose last finished job ended in error."""
    problems = []
    for name, timer in wanted.timers.items():
        ended = outcomes(cursor, name)
        if ended and ended[0][0] == "error":
            title = f"Таймер {name}: запуск закончился ошибкой"
            problems.append(
                Problem(f"run:{name}", timer.job, "error", title, ended[0][1] or "без сообщения", {"timer": name})
            )
    return problems


def stale(cursor: Cursor, wanted: Definitions, now: datetime.datetime) -> list[Problem]:
    """Return the sources that are too far behind."""
    return [
        Problem(
            f"source:{found.source}",
            found.source,
            "error",
            f"Источник {found.source}: данные устарели",
            found.text,
            {"latest_date": found.latest_date and f"{found.latest_date}", "total_rows": found.total_rows},
        )
        for found in freshness.look(cursor, wanted, now)
        if found.status == "error"
    ]


def silent(cursor: Cursor, wanted: Definitions, now: datetime.datetime) -> list[Problem]:
    """Return the timers that should have run and did not."""
    return [
        Problem(
            f"late:{name}",
            wanted.timers[name].job,
            "error",
            f"Таймер {name} молчит",
            "пропущено не меньше двух запусков",
            {"timer": name},
        )
        for name in checks.late(cursor, wanted, now)
    ]


def outcomes(cursor: Cursor, timer: str) -> list[tuple[str, str | None]]:
    """Return how the last jobs of a timer ended, with the journal's message, the newest first."""
    cursor.execute(_OUTCOMES, {"timer": timer, "limit": FAILURES + 1})
    return [(status, message) for status, message, _ in cursor.fetchall()][:FAILURES]


def reserves(cursor: Cursor, wanted: Definitions) -> list[Problem]:
    """Switch a reserve on when its timer failed too often in a row, off when it can again; return those that are on.

    What a person has switched stays: a reserve is switched once when its alert opens, and once when it closes.
    """
    problems = []
    for name, timer in wanted.timers.items():
        if timer.reserve_of is None:
            continue
        key = f"reserve:{name}"
        cursor.execute("SELECT FROM tksva_q.timer_problem WHERE problem = %s AND closed_at IS NULL", (key,))
        stands_in = bool(cursor.rowcount)
        ended = [status for status, _ in outcomes(cursor, timer.reserve_of)]
        if not stands_in and ended == ["error"] * FAILURES:
            timetable.enable(cursor, wanted.schedule(name))
            stands_in = True
        elif stands_in and ended[:1] == ["success"]:
            timetable.disable(cursor, wanted.schedule(name))
            stands_in = False
        if stands_in:
            title = f"Включён резерв {name}"
            message = f"Таймер {timer.reserve_of} не смог {FAILURES} раза подряд"
            problems.append(Problem(key, timer.job, "warning", title, message, {"timer": name}))
    return problems
