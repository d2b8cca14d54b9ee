"""Jobs handed out over RabbitMQ: workers killed, the broker stopped, its data wiped, a machine cut off."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil

import queueing
from db import Database
from faults.bench import Bench
from faults.daemon import BROKER_WORKER, Daemon, luck, wait_for
from faults.machines import Machine, machine, obstacle
from faults.rabbitmq import RabbitMQ, running_rabbitmq
from faults.report import Result, spread
from faults.silence import deaths, taken_over

WORKERS = 3
#: Seconds within which jobs flow again after the broker's return, and within which a cancel reaches a job.
FLOW_SECONDS = 5.0
CANCEL_SECONDS = 2.0
OWN = Path(__file__).resolve().parent / "own"


def run(bench: Bench, count: int = 3000, times: int = 5) -> list[Result]:
    """Do all of it; `count` jobs in each part, every fault of the small kind `times` times."""
    with running_rabbitmq() as rabbitmq:
        ground = Ground(bench, rabbitmq)
        results = [
            ground.each_once(count),
            ground.killed(count),
            ground.outage(count, wipe=False),
            ground.outage(count, wipe=True),
            ground.cancelled(times),
        ]
        reason = obstacle()
        return [*results, Result(f"машина отрезана: {reason}", 0) if reason else ground.cut_off(min(times, 3))]


class Ground:
    """A bench with a broker: the daemon that announces jobs, and workers."""

    def __init__(self, bench: Bench, rabbitmq: RabbitMQ, heartbeat: float = 2) -> None:
        self.bench = bench
        self.rabbitmq = rabbitmq
        self.settings: dict[str, Any] = {
            "broker_url": rabbitmq.url,
            "heartbeat_seconds": heartbeat,
            "integrations": "traces",
            "pythonpath": OWN,
        }
        bench.sql("CREATE TABLE IF NOT EXISTS trace (job bigint, attempt int)")
        self.daemon = bench.daemon(**self.settings)

    def worker(self) -> Daemon:
        """Start a worker with one child, and do not wait for it."""
        return self.bench.daemon(wait=False, program=BROKER_WORKER, **self.settings)

    def workers(self, count: int = WORKERS) -> list[Daemon]:
        """Start workers, and wait until all of them listen."""
        started = [self.worker() for _ in range(count)]
        wait_for(lambda: all(worker.started for worker in started), "the start of workers")
        return started

    def submit(self, count: int, seconds: float = 0) -> None:
        """Queue so many jobs, in one transaction."""
        self.bench.sql(
            "INSERT INTO tksva_q.job (form, params) SELECT 'trace', json_build_object('seconds', %s::float)"
            " FROM generate_series(1, %s)",
            seconds,
            count,
        )
        self.bench.sql("NOTIFY tksva_q")

    def left(self) -> int:
        return int(self.bench.value("SELECT count(*) FROM tksva_q.job WHERE state IN ('waiting', 'running')"))

    def drained(self, seconds: float = 300) -> None:
        """Wait until no job is left."""

        def empty() -> bool:
            time.sleep(0.05)
            return not self.left()

        wait_for(empty, lambda: f"{self.left()} jobs are left; {self.bench._story()}", seconds)

    def losses(self, *workers: Daemon) -> list[str]:
        """Stop the workers, and say what was lost or done twice; the next part begins with an empty queue."""
        lost = [f"a worker ended with status {worker.process.returncode}" for worker in workers if worker.stop()]
        attempts = self.bench.sql(
            "SELECT id, state, count(attempt.*), count(*) FILTER (WHERE outcome = 'done'),"
            " (SELECT count(*) FROM trace WHERE job = id)"
            " FROM tksva_q.job LEFT JOIN tksva_q.attempt ON job_id = id GROUP BY id"
        )
        for job, state, tries, done, traces in attempts:
            # Only an attempt that was interrupted may have been made in vain.
            if (state, done) != ("done", 1) or not 1 <= traces <= tries:
                lost.append(f"job {job}: {state}, done {done} times in {tries} attempts, {traces} traces")
        self.bench.sql("TRUNCATE tksva_q.job CASCADE; TRUNCATE trace, tksva_q.dispatch")
        return lost

    # --- the parts ----------------------------------------------------------------------------------------------------

    def each_once(self, count: int) -> Result:
        """Three workers, many jobs."""
        workers = self.workers()
        began = time.monotonic()
        self.submit(count)
        self.drained()
        seconds = time.monotonic() - began
        more = self.bench.value("SELECT count(*) FROM tksva_q.attempt") - count
        lost = [f"{more} attempts too many"] if more else []
        figures = {"работ в секунду": f"{count / seconds:.0f}"}
        return Result(f"{WORKERS} работника, {count} работ", count, lost + self.losses(*workers), figures)

    def killed(self, count: int, period: float = 1.0) -> Result:
        """A worker killed every `period` seconds; TaskIQ's manager of another one loses its worker process."""
        workers = self.workers()
        self.submit(count, seconds=0.01)
        kills = 0
        while self.left():
            time.sleep(period)
            victim = luck.randrange(WORKERS)
            if kills % 2:
                for process in workers[victim].family()[:1]:
                    process.kill()
            else:
                workers[victim].kill()
                workers[victim] = self.worker()
            kills += 1
            self.bench.hurry()
        interrupted = self.bench.value("SELECT count(*) FROM tksva_q.attempt WHERE outcome <> 'done'")
        for worker in workers:
            wait_for(lambda worker=worker: worker.started, "a worker")  # type: ignore[misc]
        figures = {"прервано попыток": str(interrupted)}
        return Result("работник убит", kills, self.losses(*workers), figures)

    def outage(self, count: int, *, wipe: bool, seconds: float = 3) -> Result:
        """The broker stopped in the middle of its work, and started again, with its data or without."""
        workers = self.workers()
        self.submit(count // 2)
        wait_for(lambda: self.bench.value("SELECT count(*) FROM trace") > count // 10, "the first jobs")
        self.rabbitmq.stop()
        wait_for(lambda: not self.bench.value("SELECT count(*) FROM tksva_q.job WHERE state = 'running'"), "rest")
        self.submit(count // 2)
        time.sleep(seconds)
        waiting = self.left()
        if wipe:
            self.rabbitmq.wipe()
        self.rabbitmq.start()
        back = time.monotonic()
        before = self.bench.value("SELECT count(*) FROM trace")
        wait_for(lambda: self.bench.value("SELECT count(*) FROM trace") > before, "the first job after the return")
        flowed = time.monotonic() - back
        self.drained()
        asked = time.monotonic()
        self.submit(1)
        self.drained()
        fresh = time.monotonic() - asked
        lost = [f"the first job came {flowed:.1f} s after the return"] if flowed > FLOW_SECONDS else []
        lost += [f"a new job took {fresh:.1f} s"] if fresh > FLOW_SECONDS else []
        lost += [] if waiting >= count // 2 else [f"only {waiting} jobs waited for the broker"]
        fault = "RabbitMQ остановлен, данные стёрты" if wipe else "RabbitMQ остановлен и запущен"
        figures = {"до первой работы после возврата": f"{flowed:.2f} с", "новая работа": f"{fresh:.2f} с"}
        return Result(fault, 1, lost + self.losses(*workers), figures)

    def running(self, count: int = 1) -> list[tuple[int, int]]:
        """Wait until so many jobs run; return their ids and attempts."""
        running = "SELECT id, attempt FROM tksva_q.job WHERE state = 'running' ORDER BY id"
        return wait_for(
            lambda: found if len(found := self.bench.sql(running)) == count else None,
            lambda: f"{count} running jobs; {self.bench._story()}",
        )

    def cancelled(self, times: int) -> Result:
        """Jobs at a worker cancelled from here."""
        (worker,) = self.workers(1)
        late: list[float] = []
        for _ in range(times):
            self.submit(1, seconds=600)
            ((job, _attempt),) = self.running()
            time.sleep(luck.random())
            asked = time.monotonic()
            with closing(Database(self.bench.conninfo, "faults")) as database, database.transaction() as cursor:
                queueing.cancel(cursor, job)
            wait_for(lambda: not self.left(), "the end of a cancelled job")
            late.append(time.monotonic() - asked)
        self.bench.sql("TRUNCATE tksva_q.job CASCADE")
        lost = [f"a cancel took {seconds:.2f} s" for seconds in late if seconds > CANCEL_SECONDS]
        return Result("отмена на другой машине", times, lost + self.losses(worker), {"до конца": spread(late)})

    def cut_off(self, times: int) -> Result:
        """One of two machines cut off at work: the other one takes its job over, and not before its child has ended."""
        margins: list[float] = []
        lost: list[str] = []
        with ExitStack() as stack:
            first, second = stack.enter_context(machine()), stack.enter_context(machine())
            there = self._worker_at(first)
            for _ in range(times):
                self.submit(1, seconds=600)
                ((job, attempt),) = self.running()
                other = self._worker_at(second)
                with deaths(_children(there)) as ends:
                    first.cut()
                    taken = taken_over(self.bench, job, attempt)
                margins += [taken - end for end in ends]
                lost += [] if ends else ["no child of the machine that was cut off was stopped"]
                with closing(Database(self.bench.conninfo, "faults")) as database, database.transaction() as cursor:
                    queueing.cancel(cursor, job)
                wait_for(lambda: not self.left(), "the end of the job")
                lost += ["the other worker did not end well"] if other.stop() else []
                first.join()
                self.submit(1)  # nobody but the machine that is back can run it
                self.drained()
            self.bench.sql("TRUNCATE tksva_q.job CASCADE; TRUNCATE trace")
            lost += self.losses(there)
        lost += [f"a child lived {-margin:.2f} s beyond the takeover" for margin in margins if margin < 0]
        figures = {"ребёнок остановлен до перехвата, за": f"{min(margins, default=0):.2f} с и больше"}
        return Result("машина отрезана от сети", times, lost, figures)

    def _worker_at(self, place: Machine) -> Daemon:
        """Start a worker on another machine."""
        started = self.bench.daemon(
            wait=False,
            program=place.program(*BROKER_WORKER),
            **self.settings
            | {
                "psql_host": place.address,
                "psql_port": place.reach(self.bench.server.port),
                "broker_url": f"amqp://guest:guest@{place.address}:{place.reach(self.rabbitmq.port)}/",
            },
        )
        wait_for(lambda: started.started or not started.lives, "the start of a worker on another machine")
        return started


def _children(worker: Daemon) -> list[psutil.Process]:
    """Return the processes that run a worker's jobs: TaskIQ's manager, its worker, the fork server, the children."""
    manager = psutil.Process(worker.pid)
    return [child for own in manager.children() for helper in own.children() for child in helper.children()]
