"""What the loop does when slots are due: each becomes a job, or a line that says why not.

There is no leader. Whichever daemon comes first locks the schedule's row, decides the slots since the last decided
one, and writes them, unique by schedule and planned time, in the transaction that queues their jobs. A daemon that
comes second finds them decided. What is decided is never decided again, so that a clock that goes backwards makes a
schedule wait, not repeat itself.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import processings
import queueing
from db import Cursor, Database
from schedules import Schedule, next_slot, slots, starts_at

#: Seconds after which a slot counts as missed: a restart is shorter.
LATE_SECONDS = 30.0
#: Slots that one transaction decides; the next turn goes on from there.
BATCH = 500
#: Decided slots of a schedule that are kept, and how many come in between two looks at how many there are.
KEPT_SLOTS = 1000
PRUNE_EVERY = 200
#: Seconds after which a schedule is looked at again that another daemon is just deciding.
RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class Slot:
    """A planned time of a schedule, and what became of it."""

    planned_at: datetime
    fate: str  # fired, missed, overlap
    job_id: int | None = None
    run_at: datetime | None = None


class Clock:
    """The schedules of one daemon, each with its next slot.

    Args:
        schedules: checked ones.
    """

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self.schedules = {schedule.name: schedule for schedule in schedules}
        self._next: dict[str, float] = {}  # name -> Unix seconds of its next slot
        self._decided = dict.fromkeys(self.schedules, 0)  # slots since its history was last cut
        self._registered = False
        self.due = 0.0 if self.schedules else float("inf")  # Unix seconds

    def seconds(self) -> float:
        """Return the seconds until something is due."""
        return self.due - time.time()

    def tick(self, database: Database, now: float | None = None) -> int:
        """Decide what is due and return the number of jobs queued; no statement where nothing is.

        Args:
            database: the loop's own.
            now: Unix seconds; None for those of this machine.

        Raises:
            DatabaseAway: nothing was decided, or nobody knows; it is due still.
        """
        now = time.time() if now is None else now
        if now < self.due:
            return 0
        moment = datetime.fromtimestamp(now, UTC)
        if not self._registered:
            with database.transaction() as cursor:
                self._register(cursor, moment)
            self._registered = True
        due = sorted(name for name, at in self._next.items() if at <= now)
        after: dict[str, float] = {}
        fired = 0
        if due:
            with database.transaction() as cursor:
                for name, enabled, definition, considered in _lock(cursor, due):
                    schedule = self.schedules[name]
                    if definition != schedule.definition:  # another daemon knows a newer one
                        after[name] = next_slot(schedule, moment).timestamp()
                        continue
                    on = schedule.enabled if enabled is None else enabled
                    decided, last = decide(cursor, schedule, on, considered, moment)
                    fired += sum(slot.fate == "fired" for slot in decided)
                    after[name] = next_slot(schedule, last).timestamp()
                    self._decided[name] += len(decided)
                    if self._decided[name] >= PRUNE_EVERY:
                        self._decided[name] = 0
                        _prune(cursor, name)
        self._next |= after
        self.due = min(
            (at if at > now or name in after else now + RETRY_SECONDS for name, at in self._next.items()),
            default=float("inf"),
        )
        return fired

    def _register(self, cursor: Cursor, now: datetime) -> None:
        """Say what is defined: a schedule seen for the first time, or defined anew, begins now."""
        for schedule in sorted(self.schedules.values(), key=lambda one: one.name):
            cursor.execute(
                "INSERT INTO tksva_q.schedule AS known (name, definition, considered_at) VALUES (%s, %s, %s)"
                " ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, since = now(),"
                "   considered_at = greatest(known.considered_at, excluded.considered_at)"
                " WHERE known.definition <> excluded.definition",
                (schedule.name, schedule.definition, now),
            )
        cursor.execute("SELECT name, considered_at FROM tksva_q.schedule WHERE name = ANY(%s)", (list(self.schedules),))
        for name, considered in cursor.fetchall():
            self._next[name] = next_slot(self.schedules[name], considered).timestamp()


def _lock(cursor: Cursor, names: list[str]) -> list[tuple[str, bool | None, str, datetime]]:
    cursor.execute(
        "SELECT name, enabled, definition, considered_at FROM tksva_q.schedule WHERE name = ANY(%s)"
        " ORDER BY name FOR UPDATE SKIP LOCKED",
        (names,),
    )
    return cursor.fetchall()


def decide(
    cursor: Cursor, schedule: Schedule, enabled: bool, considered: datetime, now: datetime
) -> tuple[list[Slot], datetime]:
    """Decide the slots after `considered`, up to `now`; return them, and up to when all are decided.

    Args:
        cursor: in a transaction that holds the schedule's row.
        schedule: as it is defined.
        enabled: whether it is switched on.
        considered: all slots up to here are decided.
        now: slots after it are not due.
    """
    if not enabled:
        _write(cursor, schedule, [], max(considered, now))
        return [], max(considered, now)
    forgotten = now - timedelta(seconds=max(schedule.look_back, LATE_SECONDS))
    found = list(islice(slots(schedule, max(considered, forgotten)), BATCH + 1))
    due = [slot for slot in found[:BATCH] if slot <= now]
    punctual = now - timedelta(seconds=LATE_SECONDS)
    last_late = max((slot for slot in found if slot < punctual), default=punctual)
    decided = [
        _fire(cursor, schedule, slot)
        if slot >= punctual or schedule.missed == "all" or (schedule.missed == "once" and slot == last_late)
        else Slot(slot, "missed")
        for slot in due
    ]
    last = due[-1] if due else max(considered, now)
    if decided:
        _write(cursor, schedule, decided, last)
    return decided, last


def _fire(cursor: Cursor, schedule: Schedule, planned: datetime) -> Slot:
    begins = starts_at(schedule, planned)
    job_id = queue_job(cursor, schedule, planned, begins)
    return Slot(planned, "fired" if job_id else "overlap", job_id, begins if job_id else None)


def queue_job(cursor: Cursor, schedule: Schedule, planned: datetime | None, begins: datetime | None) -> int | None:
    """Queue a job of a schedule; None where its earlier one has not ended and this one is not to wait.

    Args:
        cursor: in a transaction that holds the schedule's row.
        schedule: as it is defined.
        planned: the slot; None where somebody starts it by hand.
        begins: when it may begin; None for now.
    """
    live = _live(cursor, schedule.name)
    if live and schedule.overlap == "skip":
        return None
    if live and schedule.overlap == "replace":
        for job_id in live:
            queueing.cancel(cursor, job_id)
        cursor.execute(
            "UPDATE tksva_q.slot SET fate = 'replaced' FROM tksva_q.job"
            " WHERE job.id = ANY(%s) AND slot.schedule = job.schedule AND slot.planned_at = job.planned_at",
            (live,),
        )
        live = _live(cursor, schedule.name)
    told = planned or datetime.now(UTC)
    return queueing.submit(
        cursor,
        schedule.processing,
        schedule.params | {"planned_at": told.isoformat()},
        dwh_table=processings.find(schedule.processing).reads,
        priority=schedule.priority,
        run_at=begins if schedule.jitter else None,
        time_limit=schedule.time_limit,
        max_attempts=schedule.max_attempts,
        pause_seconds=schedule.pause_seconds,
        plan=queueing.Plan(schedule.name, planned, held=bool(live)),
    )


def _live(cursor: Cursor, name: str) -> list[int]:
    """Return the schedule's jobs that have not ended; none of them ends before this transaction does."""
    cursor.execute(
        "SELECT id FROM tksva_q.job WHERE schedule = %s AND state IN ('waiting', 'running') ORDER BY id FOR UPDATE",
        (name,),
    )
    return [int(row[0]) for row in cursor.fetchall()]


def _write(cursor: Cursor, schedule: Schedule, decided: list[Slot], last: datetime) -> None:
    cursor.execute(
        "WITH seen AS (UPDATE tksva_q.schedule SET considered_at = greatest(considered_at, %s) WHERE name = %s)"
        " INSERT INTO tksva_q.slot (schedule, planned_at, fate, job_id, run_at)"
        " SELECT %s, * FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[])",
        (
            *(last, schedule.name, schedule.name),
            [slot.planned_at for slot in decided],
            [slot.fate for slot in decided],
            [slot.job_id for slot in decided],
            [slot.run_at for slot in decided],
        ),
    )


def _prune(cursor: Cursor, name: str) -> None:
    cursor.execute(
        "DELETE FROM tksva_q.slot WHERE schedule = %(name)s AND planned_at <= (SELECT planned_at FROM tksva_q.slot"
        " WHERE schedule = %(name)s ORDER BY planned_at DESC OFFSET %(kept)s LIMIT 1)",
        {"name": name, "kept": KEPT_SLOTS},
    )
