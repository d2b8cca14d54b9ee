"""Whether the timers run as their own schedules say, and the data are fresh."""

import datetime
import itertools
import socket

import timetable
from db import Cursor
from integrations.timers import definitions, freshness, outbox
from integrations.timers.definitions import Definitions
from schedules import Schedule, slots
from workloads import Check

#: Own periods of silence after which a schedule is late.
PERIODS = 2
#: Seconds that reaching ClickHouse may take.
REACH_SECONDS = 1.0
_RANK = {"ok": 0, "warning": 1, "error": 2}


def checks(cursor: Cursor, now: datetime.datetime | None = None) -> dict[str, Check]:
    """Return the checks of the timers."""
    now, wanted = now or datetime.datetime.now(datetime.UTC), definitions.load()
    found = freshness.look(cursor, wanted, now)
    worst = max((one.status for one in found), key=_RANK.__getitem__, default="ok")
    stale = "; ".join(f"{one.source}: {one.text}" for one in found if one.status != "ok")
    silent = late(cursor, wanted, now)
    runs = Check("error", "молчат: " + ", ".join(silent)) if silent else Check("ok", "по расписанию")
    return {"clickhouse": _clickhouse(), "data_freshness": Check(worst, stale or "свежие"), "job_runs": runs}


def _clickhouse() -> Check:
    """Tell whether ClickHouse can be reached; what it does not get now waits for it, so that it is only a warning."""
    settings = definitions.options()
    if not settings.ch_host:
        return Check("ok", "не используется")
    try:
        with socket.create_connection((settings.ch_host, outbox.port(settings)), REACH_SECONDS):
            return Check("ok", "отвечает")
    except OSError as error:
        return Check("warning", f"не отвечает: {error.strerror or error}")


def late(cursor: Cursor, wanted: Definitions, now: datetime.datetime) -> list[str]:
    """Return the timers that are on and have been silent for longer than twice their own period."""
    schedules = [wanted.schedule(name) for name in wanted.timers]
    cursor.execute("SELECT timer, since FROM tksva_q.timer_seen")
    since = dict(cursor.fetchall())
    cursor.execute(
        "SELECT timer, (SELECT max(started_at) FROM tksva_q.timer_run AS run WHERE run.timer = wanted.timer)"
        " FROM unnest(%s::text[]) AS wanted (timer)",
        (list(wanted.timers),),
    )
    last = {name: at for name, at in cursor.fetchall() if at is not None}
    silent = []
    for line in timetable.listing(cursor, schedules, now):
        name = line.schedule.name
        if not line.enabled or name not in since:
            continue
        heard = max(since[name], last.get(name, since[name]))
        if now > late_after(line.schedule, heard):
            silent.append(name)
    return silent


def notice(cursor: Cursor, wanted: Definitions, now: datetime.datetime) -> None:
    """Note since when each timer is on: the silence of one that was off does not count."""
    lines = timetable.listing(cursor, [wanted.schedule(name) for name in wanted.timers], now)
    on = [line.schedule.name for line in lines if line.enabled]
    cursor.execute("DELETE FROM tksva_q.timer_seen WHERE timer <> ALL(%s)", (on,))
    cursor.execute(
        "INSERT INTO tksva_q.timer_seen (timer, since) SELECT unnest(%s::text[]), %s ON CONFLICT DO NOTHING", (on, now)
    )


def late_after(schedule: Schedule, heard: datetime.datetime) -> datetime.datetime:
    """Return when a timer is late that was last heard of then: two slots and twice the time between them have passed.

    It is the schedule that counts and no fixed hour: one that pauses over the weekend is not late on Sunday.
    """
    first, second = itertools.islice(slots(schedule, heard), 2)
    return max(second, heard + PERIODS * (second - first)) + datetime.timedelta(seconds=schedule.jitter)
