"""Deals among managers: workers killed while Bitrix24 dawdles and falls silent, and an error queue of thousands."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

import schema
from db import Database
from faults.bench import Bench
from faults.bitrix import Bitrix
from faults.daemon import Daemon, luck, wait_for
from faults.ports import free_port
from faults.report import Result
from integrations.deals import book

MANAGERS = [str(number) for number in range(1, 7)]
ON_LEAVE = "7"
#: A contact's number is its deal's and so much more.
CONTACTS = 1_000_000
#: What Bitrix24 allows: requests in any second.
RATE = 2
#: How many of the requests have no answer though they were heard; how long one takes at most, in seconds.
MUTE, PAUSE = 0.02, 0.12
#: Seconds that an answer to `/retry-errors` may take, with those of a busy machine.
ANSWER_SECONDS = 40.0


def run(  # noqa: PLR0913 -- the numbers of one suite
    bench: Bench, *, deals: int = 600, times: int = 20, few: int = 50, many: int = 5000, alone: float = 60
) -> list[Result]:
    """Kill the daemon `times` times over `deals` deals; then retry a `few` and `many` that have failed.

    Args:
        bench: a database of its own.
        deals: a multiple of the six managers.
        times: kills.
        few: failed deals that one answer must have done with.
        many: failed deals that take minutes.
        alone: seconds for which those are seen to without batches, one by one, by all workers at once; 0: never.
    """
    schema.migrate(bench.conninfo, workloads=["deals"])
    with closing(_Office(bench)) as office:
        return [office.killed(deals, times), office.retried(few), office.drained(many, alone)]


class _Office:
    """Managers, a stand-in for Bitrix24, and the deals that come in."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.bitrix = Bitrix()
        self.database = Database(bench.conninfo, "tksva_q faults")
        self.deals = 0
        self.drawn = Counter(dict.fromkeys(MANAGERS, 0))
        with self.database.transaction() as cursor:
            for manager in [*MANAGERS, ON_LEAVE]:
                book.add(cursor, manager, f"Менеджер {manager}")
            book.exclude(cursor, ON_LEAVE, True)

    def close(self) -> None:
        self.database.close()
        self.bitrix.stop()

    # --- the scenarios ------------------------------------------------------------------------------------------------

    def killed(self, deals: int, times: int) -> Result:
        """Kill the daemon at random moments; the next one sends batches of another size."""
        self.bitrix.fault = lambda _method, _number: "mute" if luck.random() < MUTE else ""
        self.bitrix.before = lambda _method, _number: time.sleep(luck.uniform(0, PAUSE))
        self._come_in(deals)
        began = time.monotonic()
        daemon = self._daemon()
        for kill in range(times):
            self._await("done", deals * kill // (times + 1))
            time.sleep(luck.uniform(0, 1.0))
            daemon.kill()
            daemon = self._daemon()
        self._await("done", deals)
        seconds = time.monotonic() - began
        lost = self._end(daemon) + self._unfair(exactly=True)
        interrupted = self.bench.value("SELECT count(*) FROM tksva_q.attempt WHERE outcome <> 'done'")
        counts = ", ".join(str(self.drawn[manager]) for manager in MANAGERS)
        figures = {
            "сделок": str(deals),
            "каждому менеджеру": counts,
            "в отпуске": str(self._state().count(ON_LEAVE)),
            "запросов": str(len(self.bitrix.requests)),
            "прервано попыток": str(interrupted),
            "секунд": f"{seconds:.0f}",
        }
        return Result("сделки: SIGKILL", times, lost, figures)

    def retried(self, few: int) -> Result:
        """Let a few deals fail, heal the service, and ask once, at the rate that Bitrix24 allows."""
        self._fail(few)
        daemon = self._daemon(bitrix_rate=RATE, bitrix_batch=50)
        with self._page() as page:
            began = time.monotonic()
            answer = page.get("/retry-errors").json()
            seconds = time.monotonic() - began
        message = f"Processed {few} tasks from error queue"
        wanted = {"error_tasks_remaining": 0, "successful_tasks": few, "message": message}
        lost = [] if answer == wanted else [f"/retry-errors answered {answer}"]
        lost += self._too_many() + self._end(daemon) + self._unfair()
        figures = {"ответ": str(answer["message"]), "секунд": f"{seconds:.1f}"}
        return Result("сделки: /retry-errors", few, lost, figures | self._requests())

    def drained(self, many: int, alone: float) -> Result:
        """Let many fail, heal the service, and keep to the rate until all are done, a kill in their midst."""
        self._fail(many)
        # Four workers, each with a request of its own for each step: whoever breaks the rate does it here.
        daemon = self._daemon(bitrix_rate=RATE, bitrix_batch=1 if alone else 50)
        with self._page() as page:
            began = time.monotonic()
            answer = page.post("/retry-errors").json()
            seconds = time.monotonic() - began
            again = page.post("/retry-errors").json()
        time.sleep(max(0.0, alone - seconds))
        by_itself = self._count("done")
        daemon.kill()
        daemon = self._daemon(bitrix_rate=RATE, bitrix_batch=50)
        self._await("done", self.deals, 600 + many / 10)
        lasted = time.monotonic() - began
        lost = [] if answer["error_tasks_remaining"] + answer["successful_tasks"] == many else [f"answered {answer}"]
        if again["message"] != "No tasks in error queue":
            lost.append(f"the second answer was {again}")
        lost += self._too_many() + self._end(daemon) + self._unfair()
        figures = {
            "ответ": f"{answer['message']}, осталось {answer['error_tasks_remaining']}, через {seconds:.1f} с",
            "роздано по одной": f"{by_itself - self.deals + many} за {alone:.0f} с",
            "всего": f"{lasted:.0f} с",
        }
        return Result("сделки: очередь ошибок", many, lost, figures | self._requests())

    # --- what they are made of ----------------------------------------------------------------------------------------

    def _daemon(self, **changed: object) -> Daemon:
        return self.bench.daemon(**self._settings(**changed))

    def _settings(self, **changed: object) -> dict[str, Any]:
        return {
            "integrations": "deals",
            "webhook_carex": self.bitrix.url,
            "workers": 4,
            "heartbeat_seconds": 1,
            "bitrix_rate": 40,
            "bitrix_batch": luck.choice([1, 1, 2, 5]),
            "bitrix_pause": 0.1,
            **changed,
        }

    @contextmanager
    def _page(self) -> Iterator[httpx.Client]:
        port = free_port()
        settings = self.bench.settings | self._settings(web_port=port)
        process = Daemon(self.bench.folder, settings, (sys.executable, "-m", "web"))
        try:
            process.await_line(" web_started ")
            base = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=base, timeout=ANSWER_SECONDS, trust_env=False) as client:
                wait_for(lambda: _answers(client), "the page")
                yield client
        finally:
            process.stop()

    def _come_in(self, deals: int) -> None:
        """Let deals come in, whose contacts are nobody's."""
        with self.database.transaction(60) as cursor:
            for _ in range(deals):
                self.deals += 1
                book.queue(cursor, self.deals, CONTACTS + self.deals)

    def _fail(self, deals: int) -> None:
        """Let deals come in while the service refuses everything; it is healthy and prompt after that."""
        self.bitrix.before = lambda _method, _number: None
        self.bitrix.fault = lambda _method, _number: "400"
        self._come_in(deals)
        daemon = self._daemon(bitrix_rate=1000, bitrix_batch=1)
        self._await("failed", deals, 60 + deals / 10)
        daemon.stop()
        self.bitrix.fault = lambda _method, _number: ""
        self.bitrix.requests.clear()

    def _count(self, state: str) -> int:
        return int(self.bench.value("SELECT count(*) FROM tksva_q.deal WHERE state = %s", state))

    def _await(self, state: str, deals: int, seconds: float = 300) -> None:
        """Wait until so many deals are in a state, without the pauses between attempts."""

        def story() -> str:
            states = "SELECT state, error, count(*) FROM tksva_q.deal GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 9"
            return f"{deals} deals {state}: {self.bench.sql(states)}"

        def enough() -> bool:
            self.bench.hurry()
            time.sleep(0.1)
            return self._count(state) >= deals

        wait_for(enough, story, seconds)

    # --- what was lost ------------------------------------------------------------------------------------------------

    def _end(self, daemon: Daemon) -> list[str]:
        lost = [f"the last daemon ended with status {status}"] if (status := daemon.stop()) else []
        return lost + self.bench.losses()

    def _state(self) -> list[str]:
        """Return whom Bitrix24 has made responsible in the end, each deal's person."""
        return [self.bitrix.deals.get(deal, "") for deal in range(1, self.deals + 1)]

    def _unfair(self, *, exactly: bool = False) -> list[str]:
        """Compare Bitrix24's final state and log with the rule; a line for each thing that is not as it must be."""
        people = self._state()
        told: dict[int, set[str]] = {}
        for call in self.bitrix.calls:
            if call.person:
                told.setdefault(call.id % CONTACTS, set()).add(call.person)
        lost = [f"deal {deal}: nobody" for deal, person in enumerate(people, 1) if not person]
        lost += [
            f"deal {deal}: {person}, its contact: {self.bitrix.contacts.get(CONTACTS + deal)}"
            for deal, person in enumerate(people, 1)
            if person != self.bitrix.contacts.get(CONTACTS + deal)
        ]
        lost += [f"deal {deal}: {sorted(names)} were told" for deal, names in told.items() if len(names) != 1]
        self.drawn = Counter(people)
        counts = [self.drawn[manager] for manager in MANAGERS]
        if sum(counts) != len(people) or max(counts) - min(counts) > (0 if exactly else 1):
            lost.append(f"not fair: {dict(self.drawn)}")
        return lost

    def _too_many(self) -> list[str]:
        most = self.bitrix.busiest()
        return [f"{most} requests within a second"] if most > RATE else []

    def _requests(self) -> dict[str, str]:
        return {"запросов": f"{len(self.bitrix.requests)}, не больше {self.bitrix.busiest()} за любую секунду"}


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/metrics").is_success
    except httpx.TransportError:
        return False
