"""The loop of a worker behind a broker, without a broker: what a message leads to, and when the next one may come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import control
from broker_loop import BrokerLoop, Call
from db import Database
from tests.daemons import make_settings
from tests.database import Queries, server_cursor
from tests.dispatch.conftest import await_done, each_ran_once, submit
from tests.waiting import wait_for

#: Seconds within which a message is answered, on a machine that is busy.
PATIENCE = 60.0


class Messages:
    """A loop in its thread, the messages that a test sends it, and what it says of its children."""

    def __init__(self, conninfo: str, folder: Path, **settings: object) -> None:
        broker_url = "amqp://127.0.0.1:1/"  # nobody is there, and nobody asks
        usual = {"broker_url": broker_url, "integrations": "testing", "heartbeat_seconds": 1}
        self.settings = make_settings(conninfo, folder, **(usual | settings))
        self.vacancies: list[bool] = []
        made: queue.SimpleQueue[BrokerLoop] = queue.SimpleQueue()

        def live() -> None:
            loop = BrokerLoop(self.settings, conninfo, self.vacancies.append)
            made.put(loop)
            loop.serve()

        self.thread = threading.Thread(target=live, daemon=True)
        self.thread.start()
        self.loop = made.get(timeout=PATIENCE)
        wait_for(lambda: self.vacancies == [True], PATIENCE)

    def send(self, job_id: int) -> threading.Event:
        """Send a message; the event says that it was answered."""
        answered = threading.Event()
        self.loop.call(Call(job_id, answered.set))
        return answered

    def close(self) -> None:
        """Stop the loop, twice: it does not wait for its children."""
        self.loop.stop()
        self.loop.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


Open = Callable[..., Messages]


@pytest.fixture
def begin(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    opened: list[Messages] = []

    def start(**settings: object) -> Messages:
        opened.append(Messages(database, tmp_path, **settings))
        return opened[-1]

    yield start
    for messages in opened:
        messages.close()


def state(sql: Queries, job: int) -> str:
    return str(sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job))


def test_a_message_is_answered_when_its_job_is_claimed(begin: Open, own: Database, sql: Queries) -> None:
    messages = begin()
    (job,) = submit(own, "patient")
    assert messages.send(job).wait(PATIENCE)
    assert state(sql, job) == "running"


def test_a_message_calls_for_the_job_that_is_next_and_is_noted_as_taken(
    begin: Open, own: Database, sql: Queries
) -> None:
    messages = begin()
    (low,) = submit(own, "patient", priority=1)
    (high,) = submit(own, "patient", priority=10)
    sql("INSERT INTO tksva_q.dispatch (job_id, sent_at) VALUES (%s, now()), (%s, now())", low, high)
    assert messages.send(low).wait(PATIENCE)
    assert (state(sql, low), state(sql, high)) == ("waiting", "running")
    assert sql("SELECT job_id FROM tksva_q.dispatch") == [(high,)]


def test_a_message_that_finds_nothing_to_do_is_answered_as_well(begin: Open, own: Database, sql: Queries) -> None:
    messages = begin()
    (job,) = submit(own)
    assert messages.send(job).wait(PATIENCE)
    await_done(sql, 1)
    for late in (job, 10**9):
        assert messages.send(late).wait(PATIENCE)
    assert each_ran_once(sql)


def test_before_the_answer_it_says_that_no_child_is_free_and_afterwards_that_one_is(
    begin: Open, own: Database, sql: Queries
) -> None:
    messages = begin(workers=1)
    (job,) = submit(own, "patient")
    assert messages.send(job).wait(PATIENCE)
    assert messages.vacancies == [True, False]
    sql("UPDATE tksva_q.job SET params = '{\"go\": true}'")
    wait_for(lambda: messages.vacancies == [True, False, True], PATIENCE)


def test_as_long_as_a_child_is_free_more_messages_may_come(begin: Open, own: Database, sql: Queries) -> None:
    messages = begin(workers=2)
    jobs = submit(own, "patient", 3)
    assert messages.send(jobs[0]).wait(PATIENCE)
    assert messages.vacancies == [True]
    assert messages.send(jobs[1]).wait(PATIENCE)
    assert messages.vacancies == [True, False]
    assert messages.send(jobs[2]).wait(PATIENCE)  # one that was on its way
    assert [state(sql, job) for job in jobs] == ["running", "running", "waiting"]


def test_without_a_message_nothing_is_looked_for_unless_messages_may_be_lost(
    begin: Open, own: Database, sql: Queries
) -> None:
    messages = begin(workers=2)
    submit(own, count=10)
    renewed = "SELECT max(seen_at) FROM tksva_q.worker"
    for _ in range(2):
        last = sql.value(renewed)
        wait_for(lambda last=last: sql.value(renewed) > last, PATIENCE)  # type: ignore[misc]
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("waiting",)]
    messages.loop.look()
    await_done(sql, 10)
    assert each_ran_once(sql)


def test_a_cancel_is_seen_without_a_word(begin: Open, own: Database, sql: Queries) -> None:
    messages = begin()
    (job,) = submit(own, "endless")
    assert messages.send(job).wait(PATIENCE)
    control.cancel(own, messages.settings, job)
    wait_for(lambda: state(sql, job) == "cancelled", PATIENCE)


def test_messages_that_come_while_the_database_is_away_are_dropped_and_their_jobs_found_afterwards(
    begin: Open, own: Database, sql: Queries, postgres: str
) -> None:
    messages = begin()
    name = sql.value("SELECT current_database()")
    jobs = submit(own, count=3)
    with server_cursor(postgres) as cursor:
        cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q%'")
        try:
            for job in jobs:
                assert messages.send(job).wait(PATIENCE)
            assert messages.vacancies[-1] is False
        finally:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    await_done(sql, 3)
    assert each_ran_once(sql)


def test_to_stop_gives_back_what_runs_and_ends_the_lease(begin: Open, own: Database, sql: Queries) -> None:
    messages = begin()
    (job,) = submit(own, "endless")
    assert messages.send(job).wait(PATIENCE)
    messages.close()
    assert sql("SELECT state, spent FROM tksva_q.job") == [("waiting", 0)]
    assert sql.value("SELECT count(*) FROM tksva_q.worker") == 0
