"""What a person sees of the schedules and does to them."""

from __future__ import annotations

import threading
import types
from datetime import UTC, datetime, timedelta

import pytest

import timetable
from db import Database
from errors import SettingsError
from firing import Clock
from schedules import Schedule, starts_at
from tests.database import Queries
from tests.hourly import hourly
from tests.waiting import PATIENCE
from workloads import Workload

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("nothing")


def line(own: Database, schedule: Schedule, now: datetime = NOON) -> timetable.Line:
    with own.transaction() as cursor:
        [found] = timetable.listing(cursor, [schedule], now)
    return found


def end(sql: Queries, job: int | None, state: str, error: str | None = None) -> None:
    sql(
        "UPDATE tksva_q.job SET state = %s, error = %s, started_at = now() - interval '90 s', finished_at = now()"
        " WHERE id = %s",
        state,
        error,
        job,
    )


# --- what is defined --------------------------------------------------------------------------------------------------


def workload(name: str, schedules: object) -> Workload:
    module = types.ModuleType(name)
    module.SCHEDULES = schedules  # type: ignore[attr-defined]
    return Workload(name, module)


def test_the_schedules_of_all_workloads_are_defined_be_they_listed_or_made() -> None:
    a, b = hourly(name="a"), hourly(name="b")
    assert timetable.defined([workload("x", (a,)), workload("y", lambda: (b,))]) == (a, b)
    assert timetable.defined([Workload("none", types.ModuleType("none"))]) == ()


def test_two_workloads_cannot_share_a_name() -> None:
    with pytest.raises(SettingsError, match=r"^расписание a: такое название уже есть$"):
        timetable.defined([workload("x", (hourly(name="a"),)), workload("y", (hourly(name="a"),))])


# --- what is listed ---------------------------------------------------------------------------------------------------


def test_a_schedule_that_no_daemon_has_seen_is_listed_as_it_is_defined(own: Database) -> None:
    seen = line(own, hourly())
    assert (seen.enabled, seen.next_at, seen.fate, seen.state) == (True, NOON + HOUR, None, None)
    off = line(own, hourly(enabled=False))
    assert (off.enabled, off.next_at) == (False, None)


def test_the_next_begin_has_its_jitter_in_it(own: Database) -> None:
    made = hourly(jitter=600)
    assert line(own, made).next_at == starts_at(made, NOON + HOUR)


def test_the_last_job_is_listed_with_its_end_its_error_and_its_seconds(own: Database, sql: Queries) -> None:
    made = hourly()
    end(sql, timetable.start(own, made), "done")
    end(sql, timetable.start(own, made), "failed", "код выхода 3")
    seen = line(own, made)
    assert (seen.state, seen.error, seen.fate) == ("failed", "код выхода 3", None)
    assert seen.seconds == pytest.approx(90)
    assert seen.started_at is not None
    assert seen.finished_at is not None
    assert seen.finished_at - seen.started_at == timedelta(seconds=90)


def test_the_last_slot_is_listed_with_what_became_of_it(own: Database) -> None:
    made = hourly(missed="skip")
    clock = Clock([made])
    for hours, fate in ((0.0, None), (1.0, "fired"), (2.0, "overlap"), (4.5, "missed")):
        clock.tick(own, (NOON + hours * HOUR).timestamp())
        seen = line(own, made)
        assert seen.fate == fate
        assert seen.planned_at == (NOON + int(hours) * HOUR if fate else None)


def test_the_lines_come_in_the_order_of_the_schedules(own: Database) -> None:
    schedules = [hourly(name=name) for name in "cab"]
    Clock(schedules).tick(own, NOON.timestamp())
    with own.transaction() as cursor:
        assert [found.schedule.name for found in timetable.listing(cursor, schedules)] == ["c", "a", "b"]
        assert timetable.listing(cursor, []) == []


# --- what is done to them ---------------------------------------------------------------------------------------------


def test_a_switch_holds_whatever_is_defined_and_before_a_daemon_has_seen_it(own: Database) -> None:
    for made, turn in ((hourly(enabled=False), timetable.enable), (hourly(name="b"), timetable.disable)):
        with own.transaction() as cursor:
            turn(cursor, made)
        Clock([made]).tick(own, NOON.timestamp())
        assert line(own, made).enabled is not made.enabled


def test_what_was_due_while_it_was_off_is_not_made_up(own: Database, sql: Queries) -> None:
    made = hourly(missed="all")
    clock = Clock([made])
    begin = datetime.now(UTC) - 5 * HOUR
    clock.tick(own, begin.timestamp())
    for turn in (timetable.disable, timetable.enable, timetable.enable):
        with own.transaction() as cursor:
            turn(cursor, made)
    Clock([made]).tick(own, datetime.now(UTC).timestamp())
    assert sql("SELECT * FROM tksva_q.slot") == []


def test_a_start_by_hand_makes_a_job_that_knows_when_and_takes_no_slot(own: Database, sql: Queries) -> None:
    made = hourly(params={"a": 1}, time_limit=60.0, max_attempts=2, pause_seconds=3.0, priority=7, jitter=600)
    job = timetable.start(own, made)
    [(form, params, planned, held, late, *rest)] = sql(
        "SELECT form, params, planned_at, held, run_at > now(), time_limit, max_attempts, pause_seconds, priority"
        " FROM tksva_q.job WHERE id = %s",
        job,
    )
    assert (form, planned, held, late) == ("nothing", None, False, False)
    assert rest == [60.0, 2, 3.0, 7]
    assert params["a"] == 1
    assert abs(datetime.fromisoformat(params["planned_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert sql("SELECT * FROM tksva_q.slot") == []


@pytest.mark.parametrize(
    ("overlap", "states"),
    [("skip", ["waiting"]), ("queue", ["waiting", "waiting"]), ("replace", ["cancelled", "waiting"])],
)
def test_a_start_beside_a_job_that_has_not_ended_obeys_the_policy(
    own: Database, sql: Queries, overlap: str, states: list[str]
) -> None:
    made = hourly(overlap=overlap)
    assert timetable.start(own, made)
    assert (timetable.start(own, made) is None) == (overlap == "skip")
    assert [state for (state,) in sql("SELECT state FROM tksva_q.job ORDER BY id")] == states


def test_twenty_starts_at_once_are_one_run_where_none_may_overlap(database: str, sql: Queries) -> None:
    made = hourly()
    ready, started = threading.Barrier(20, timeout=PATIENCE), []

    def start() -> None:
        mine = Database(database, "test")
        mine.connect()
        ready.wait()
        started.append(timetable.start(mine, made))
        mine.close()

    threads = [threading.Thread(target=start) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(started) == 20
    assert [job for job in started if job] == [sql.value("SELECT id FROM tksva_q.job")]


def test_a_stop_ends_what_waits_and_tells_what_runs(own: Database, sql: Queries) -> None:
    made, other = hourly(overlap="queue"), hourly(name="other")
    first, second = timetable.start(own, made), timetable.start(own, made)
    timetable.start(own, other)
    sql(
        "UPDATE tksva_q.job SET state = 'running', attempt = 1, worker = gen_random_uuid(), slot = 0 WHERE id = %s",
        first,
    )
    assert timetable.stop(own, made) == [first, second]
    assert sql("SELECT state, cancel FROM tksva_q.job ORDER BY id") == [
        ("running", True),
        ("cancelled", True),
        ("waiting", False),
    ]
    assert line(own, other).state == "waiting"


def test_a_start_wakes_the_loop(own: Database, sql: Queries) -> None:
    sql("LISTEN tksva_q")
    timetable.start(own, hourly())
    sql("SELECT 1")
    sql.connection.poll()
    assert sql.connection.notifies
