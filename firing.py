"""What the loop does when slots are due: each becomes a job, or a line that says why not.

There is no leader. Whichever daemon comes first locks the schedule's row, decides the slots since the last decided
one, and writes them, unique by schedule and planned time, in the transaction that queues their jobs. A daemon that
comes second finds them decided. What is decided is never decided again, so that a clock that goes backwards makes a
schedule wait, not repeat itself.
"""

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

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


@dataclass(frozen=True)
class Decision:
    """What was decided of a schedule in one go."""

    schedule: Schedule
    slots: list[Slot]
    last: datetime  # all slots up to here are decided


class Clock:
    """The schedules of one daemon, each with its next slot.

    Args:
        schedules: checked ones.
    """

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self.schedules = {schedule.name: schedule for schedule in schedules}
        self._next: dict[str, float] = {}  # name -> Unix seconds of its next slot
        self._decided = dict.fromkeys(self.schedules, 0)  # slots since its history was last cut
        self._begins: list[float] = []  # Unix seconds at which jobs may begin that were queued with a jitter: a heap
        self._registered = False
        self.due = 0.0 if self.schedules else float("inf")  # Unix seconds

    def seconds(self) -> float:
        """Return the seconds until something is due, be it a slot or a job that waits for its jitter to pass."""
        return min(self.due, self._begins[0] if self._begins else self.due) - time.time()

    def tick(self, database: Database, now: float | None = None) -> int:
        """Decide what is due and return the number of jobs that may begin; no statement where nothing is.

        Args:
            database: the loop's own.
            now: Unix seconds; None for those of this machine.

        Raises:
            DatabaseAway: nothing was decided, or nobody knows; it is due still.
        """
        now = time.time() if now is None else now
        begun = self._begun(now)
        if now < self.due:
            return begun
        moment = datetime.fromtimestamp(now, UTC)
        if not self._registered:
            with database.transaction() as cursor:
                self._register(cursor, moment)
            self._registered = True
        due = sorted(name for name, at in self._next.items() if at <= now)
        after: dict[str, float] = {}
        made: list[Decision] = []
        if due:
            with database.transaction() as cursor:
                locked = _lock(cursor, due)
                live = _live(cursor, [name for name, *_ in locked])
                for name, enabled, definition, considered in locked:
                    schedule = self.schedules[name]
                    if definition != schedule.definition:  # another daemon knows a newer one
                        after[name] = next_slot(schedule, moment).timestamp()
                        continue
                    on = schedule.enabled if enabled is None else enabled
                    made.append(decide(cursor, schedule, live[name], on, considered, moment))
                    after[name] = next_slot(schedule, made[-1].last).timestamp()
                _write(cursor, made)
                for decision in made:
                    self._prune(cursor, decision)
        self._next |= after
        self.due = min(
            (at if at > now or name in after else now + RETRY_SECONDS for name, at in self._next.items()),
            default=float("inf"),
        )
        for begins in (slot.run_at for decision in made for slot in decision.slots if slot.run_at):
            heapq.heappush(self._begins, begins.timestamp())
        return begun + self._begun(now)

    def _begun(self, now: float) -> int:
        """Forget the jobs whose jitter has passed, and return how many; another daemon's poll finds them as well."""
        count = 0
        while self._begins and self._begins[0] <= now:
            heapq.heappop(self._begins)
            count += 1
        return count

    def _prune(self, cursor: Cursor, decision: "Decision") -> None:
        """Cut a schedule's history now and then."""
        name = decision.schedule.name
        self._decided[name] += len(decision.slots)
        if self._decided[name] >= PRUNE_EVERY:
            self._decided[name] = 0
            _prune(cursor, name)

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


def decide(  # noqa: PLR0913, PLR0917 -- what a schedule is, and where it stands
    cursor: Cursor, schedule: Schedule, live: list[int], enabled: bool, considered: datetime, now: datetime
) -> Decision:
    """Decide the slots after `considered`, up to `now`, and queue their jobs; the decision is yet to be written.

    Args:
        cursor: in a transaction that holds the schedule's row.
        schedule: as it is defined.
        live: ids of its jobs that have not ended; the new ones are added.
        enabled: whether it is switched on.
        considered: all slots up to here are decided.
        now: slots after it are not due.
    """
    if not enabled:
        return Decision(schedule, [], max(considered, now))
    begin = _looks_back_to(schedule, considered, now)
    found = list(islice(takewhile(lambda slot: slot <= now, slots(schedule, begin)), BATCH + 1))
    due = found[:BATCH]
    punctual = now - timedelta(seconds=LATE_SECONDS)
    newest = found[-1] if found else now  # a punctual one makes up for all before it
    decided = [
        _fire(cursor, schedule, live, slot)
        if slot >= punctual or schedule.missed == "all" or (schedule.missed == "once" and slot == newest)
        else Slot(slot, "missed")
        for slot in due
    ]
    # What is forgotten is decided, too: nobody looks further back when the clock is set back.
    return Decision(schedule, decided, due[-1] if due else max(considered, now))


def _looks_back_to(schedule: Schedule, considered: datetime, now: datetime) -> datetime:
    """Return after which moment slots are still looked at; `once` goes back to the last one, however old."""
    span = timedelta(seconds=max(schedule.look_back, LATE_SECONDS))
    while schedule.missed == "once" and considered < now - span and next_slot(schedule, now - span) > now:
        span *= 2
    return max(considered, now - span)


def _fire(cursor: Cursor, schedule: Schedule, live: list[int], planned: datetime) -> Slot:
    begins = starts_at(schedule, planned)
    job_id = _queue(cursor, schedule, live, planned, begins)
    return Slot(planned, "fired" if job_id else "overlap", job_id, begins if job_id else None)


def queue_by_hand(cursor: Cursor, schedule: Schedule) -> int | None:
    """Queue a job of a schedule now; None where its earlier one has not ended and this one is not to wait.

    Args:
        cursor: in a transaction that holds the schedule's row.
        schedule: as it is defined.
    """
    job_id = _queue(cursor, schedule, _live(cursor, [schedule.name])[schedule.name], None, None)
    queueing.wake(cursor)
    return job_id


def _queue(
    cursor: Cursor, schedule: Schedule, live: list[int], planned: datetime | None, begins: datetime | None
) -> int | None:
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
        live[:] = _live(cursor, [schedule.name])[schedule.name]
    told = planned or datetime.now(UTC)
    job_id = queueing.submit(
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
    live.append(job_id)
    return job_id


def _live(cursor: Cursor, names: list[str]) -> dict[str, list[int]]:
    """Return the jobs of schedules that have not ended; none of them ends before this transaction does."""
    cursor.execute(
        "SELECT schedule, id FROM tksva_q.job WHERE schedule = ANY(%s) AND state IN ('waiting', 'running')"
        " ORDER BY id FOR UPDATE",
        (names,),
    )
    live: dict[str, list[int]] = {name: [] for name in names}
    for name, job_id in cursor.fetchall():
        live[name].append(job_id)
    return live


def _write(cursor: Cursor, made: list[Decision]) -> None:
    decided = [(decision.schedule.name, slot) for decision in made for slot in decision.slots]
    cursor.execute(
        "WITH seen AS (UPDATE tksva_q.schedule SET considered_at = greatest(considered_at, last)"
        "   FROM unnest(%s::text[], %s::timestamptz[]) AS one (schedule, last) WHERE name = one.schedule)"
        " INSERT INTO tksva_q.slot (schedule, planned_at, fate, job_id, run_at)"
        " SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[])",
        (
            [decision.schedule.name for decision in made],
            [decision.last for decision in made],
            [name for name, _ in decided],
            [slot.planned_at for _, slot in decided],
            [slot.fate for _, slot in decided],
            [slot.job_id for _, slot in decided],
            [slot.run_at for _, slot in decided],
        ),
    )
    if any(slot.job_id for _, slot in decided):
        queueing.wake(cursor)


def _prune(cursor: Cursor, name: str) -> None:
    cursor.execute(
        "DELETE FROM tksva_q.slot WHERE schedule = %(name)s AND planned_at <= (SELECT planned_at FROM tksva_q.slot"
        " WHERE schedule = %(name)s ORDER BY planned_at DESC OFFSET %(kept)s LIMIT 1)",
        {"name": name, "kept": KEPT_SLOTS},
    )
