"""Jobs handed out over a real RabbitMQ: announced by the daemon, run by workers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import aio_pika
import psutil
import pytest

import brokers
import control
import dispatch
from db import Database
from faults.rabbitmq import RabbitMQ
from listening import ListeningBroker
from settings import Settings
from tests.daemons import SLOW, Daemon, make_settings
from tests.database import Queries
from tests.dispatch.conftest import Start, Worker, await_done, each_ran_once, submit
from tests.waiting import PATIENCE, wait_for

# The broker starts within the first test's time, and a worker takes its seconds on a busy machine.
pytestmark = pytest.mark.timeout(180)


def running(sql: Queries, job: int) -> None:
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job) == "running", 60)


def let_go(sql: Queries, job: int) -> None:
    """Let a job end that waits for somebody's word."""
    sql("UPDATE tksva_q.job SET params = '{\"go\": true}' WHERE id = %s", job)


def publish(settings: Settings, *job_ids: object) -> None:
    """Send the messages that the daemon sends, or those of somebody who does not know what is in them."""

    async def send() -> None:
        async with brokers.connected(settings) as broker:
            for job_id in job_ids:
                await dispatch._send(broker, job_id)  # type: ignore[arg-type]

    asyncio.run(send())


def hang_up(port: int, times: int) -> None:
    """Be in a broker's place, and have so many tries to reach it go by."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(60)
        for _ in range(times):
            server.accept()[0].close()


def test_jobs_run_in_workers_and_not_in_the_daemon(start: Start, own: Database, sql: Queries) -> None:
    daemon = start(Daemon)
    jobs = submit(own, count=50)
    announced = "SELECT count(*) FROM tksva_q.dispatch"
    wait_for(lambda: sql.value(announced) == len(jobs))
    assert sql("SELECT DISTINCT state FROM tksva_q.job") == [("waiting",)]
    worker = start()
    await_done(sql, len(jobs))
    assert each_ran_once(sql)
    assert worker.stop() == 0
    assert sql("SELECT process LIKE %s, loop_at IS NOT NULL FROM tksva_q.worker", f"{daemon.pid}:%") == [(True, True)]


def test_priorities_keep_their_order_and_so_do_equals(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    start()
    (first,) = submit(own, "patient")
    running(sql, first)
    wanted = {10: [], 5: [], 1: []}
    for _ in range(4):
        for priority in (1, 5, 10):
            wanted[priority] += submit(own, priority=priority)
    wait_for(lambda: sql.value("SELECT count(*) FROM tksva_q.dispatch") >= 12)
    let_go(sql, first)
    await_done(sql, 13)
    order = [job for (job,) in sql("SELECT job_id FROM tksva_q.attempt ORDER BY started_at")]
    assert order == [first, *wanted[10], *wanted[5], *wanted[1]]


def test_a_worker_that_is_busy_keeps_no_message_from_the_others(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    start()
    (long,) = submit(own, "patient")
    running(sql, long)
    start()
    for count in range(1, 11):
        submit(own)
        await_done(sql, count)
    let_go(sql, long)
    await_done(sql, 11)
    assert sql.value("SELECT count(DISTINCT worker) FROM tksva_q.attempt") == 2


def test_a_message_that_comes_again_and_one_that_says_nothing_do_no_harm(
    start: Start, own: Database, sql: Queries, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    start(Daemon)
    worker = start()
    (job,) = submit(own)
    await_done(sql, 1)
    publish(make_settings(sql.conninfo, tmp_path, broker_url=rabbitmq.url), *[job] * 20, 10**9, 10**30, -1, "\0", [])

    async def babble() -> None:
        async with await aio_pika.connect(rabbitmq.url) as connection:
            exchange = await (await connection.channel()).get_exchange(brokers.QUEUE)
            for body in (b"", b"{}", b"\xff" * 100):
                await exchange.publish(aio_pika.Message(body), brokers.QUEUE)

    asyncio.run(babble())
    submit(own)
    await_done(sql, 2)
    wait_for(lambda: rabbitmq.waiting() == 0)
    assert each_ran_once(sql)
    assert not re.search("crashed|database_away", worker.log)
    assert worker.stop() == 0


def test_a_job_that_is_tried_again_is_announced_again(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    start()
    (job,) = submit(own, "faulty", max_attempts=3, pause_seconds=0.2)
    wait_for(lambda: sql.value("SELECT state FROM tksva_q.job WHERE id = %s", job) == "failed", 60)
    assert sql.value("SELECT count(*) FROM tksva_q.attempt") == 3


def test_the_time_limit_and_a_cancel_reach_a_job_at_a_worker(
    start: Start, own: Database, sql: Queries, tmp_path: Path
) -> None:
    start(Daemon)
    start(workers=2)
    (limited,) = submit(own, "sleepy", max_attempts=1)
    (endless,) = submit(own, "endless")
    running(sql, endless)
    control.cancel(own, make_settings(sql.conninfo, tmp_path), endless)
    wait_for(lambda: not sql.value("SELECT count(*) FROM tksva_q.job WHERE state IN ('waiting', 'running')"), 30)
    assert sql("SELECT state, error FROM tksva_q.job WHERE id = ANY(%s) ORDER BY id", [limited, endless]) == [
        ("failed", "the time limit of 1 s has passed"),
        ("cancelled", "отменено"),
    ]


def test_the_jobs_of_a_killed_worker_go_on_elsewhere(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    worker = start()
    assert isinstance(worker, Worker)
    jobs = submit(own, "patient", 2)
    running(sql, jobs[0])
    family = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    start()
    for job in jobs:
        let_go(sql, job)
    await_done(sql, 2)
    assert sql("SELECT outcome FROM tksva_q.attempt ORDER BY job_id, attempt") == [
        ("given back",),
        ("done",),
        ("done",),
    ]


def test_a_worker_process_that_dies_is_made_anew_by_taskiq(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    worker = start()
    assert isinstance(worker, Worker)
    (job,) = submit(own, "patient")
    running(sql, job)
    children = worker.children()
    worker.process_of_jobs().kill()
    psutil.wait_procs(children, PATIENCE)  # or one might still see that it may end
    let_go(sql, job)
    await_done(sql, 1)
    assert sql.value("SELECT count(*) FROM tksva_q.attempt") == 2


def test_a_worker_whose_loop_dies_with_a_message_in_hand_ends_and_is_made_anew(
    start: Start, own: Database, sql: Queries
) -> None:
    start(Daemon)
    worker = start(integrations="testing,crashing")
    assert isinstance(worker, Worker)
    first = worker.process_of_jobs()
    submit(own)
    worker.await_line(" crashed .*nobody has foreseen this|nobody has foreseen this", 60)
    first.wait(60)
    await_done(sql, 1)
    assert each_ran_once(sql)
    assert worker.stop() == 0


def test_a_worker_that_is_stopped_gives_its_job_back_with_its_place(start: Start, sql: Queries) -> None:
    sql(SLOW)
    start(Daemon)
    worker = start(chunk_size=100)
    post = sql.post("a.csv")
    sql.await_status(post, "загружено [2-5]00 из 1000", 60)
    assert worker.stop() == 0
    assert sql.status(post) == "в очереди"
    assert sql("SELECT state, spent, cursor IS NOT NULL, rows >= 200 FROM tksva_q.job") == [("waiting", 0, True, True)]


def test_what_waits_while_the_broker_is_away_runs_when_it_is_back(
    start: Start, own: Database, sql: Queries, rabbitmq: RabbitMQ
) -> None:
    processes = [start(Daemon), start()]
    (job,) = submit(own, "patient")
    running(sql, job)
    rabbitmq.stop()
    jobs = submit(own, count=20)
    processes[0].await_line("broker_away", 60)
    hang_up(rabbitmq.port, 10)
    rabbitmq.wipe()
    rabbitmq.start()
    let_go(sql, job)
    await_done(sql, len(jobs) + 1)
    submit(own)
    await_done(sql, len(jobs) + 2)
    assert each_ran_once(sql)
    processes[0].await_line("broker_back", 60)
    assert len([line for line in processes[0].lines if "broker_away" in line]) == 1
    assert [process.stop() for process in processes] == [0, 0]


def test_a_worker_outlives_the_database(start: Start, own: Database, sql: Queries) -> None:
    start(Daemon)
    worker = start()
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tksva_q %%'")
    wait_for(lambda: sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tksva_q worker'"))
    submit(own, count=20)
    await_done(sql, 20)
    assert worker.stop() == 0


class Deaf:
    """A broker whose client takes the first cancel for something of its own, as `asyncio.wait_for` may."""

    def __init__(self) -> None:
        self.listened = asyncio.Event()
        self.cancels = 0

    async def listen(self) -> AsyncGenerator[bytes, None]:
        while True:
            self.listened.set()
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                self.cancels += 1
                if self.cancels > 1:
                    raise
        yield b""


def test_a_cancel_that_a_client_forgets_ends_the_listening_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listen() -> int:
        client = Deaf()

        @contextlib.asynccontextmanager
        async def connected(*_: object, **__: object) -> AsyncGenerator[Deaf, None]:
            yield client

        monkeypatch.setattr(brokers, "connected", connected)
        broker = ListeningBroker(Settings())
        broker._vacancy.set()
        messages = broker.listen()
        reading = asyncio.ensure_future(anext(messages))
        await client.listened.wait()
        reading.cancel()
        done, _ = await asyncio.wait({reading}, timeout=20)
        assert done
        assert reading.cancelled()
        await messages.aclose()
        return client.cancels

    assert asyncio.run(listen()) == 2
