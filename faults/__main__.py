"""`python -m faults [NAME ...]`: run all scenarios, or those named; exit status 1 when something was lost."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from rich.console import Console

from faults import (
    bad_input,
    broker,
    crowd,
    deals,
    disk_full,
    inspector,
    kills,
    parsers,
    restarts,
    schedules,
    silence,
    zombie,
)
from faults.bench import Bench, bench_on
from faults.report import Result, show
from faults.server import running_server

#: Each takes a bench, and may be told how much of it there is to be.
SCENARIOS: dict[str, Callable[..., list[Result]]] = {
    "kills": kills.run,
    "restarts": restarts.run,
    "silence": silence.run,
    "zombie": zombie.run,
    "crowd": crowd.run,
    "inspector": inspector.run,
    "bad_input": bad_input.run,
    "disk_full": disk_full.run,
    "schedules": schedules.run,
    "deals": deals.run,
    "broker": broker.run,
    "parsers": parsers.run,
}


def _run(name: str, bench: Bench) -> list[Result]:
    """Run one scenario; one that cannot go on has lost something, and the others run all the same."""
    try:
        return SCENARIOS[name](bench)
    except Exception as error:  # whatever it is, the other scenarios tell what they find
        return [Result(name, 0, [f"did not come to its end: {type(error).__name__}: {error}"])]


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description="Отказы: что ломается и что при этом теряется.")
    parser.add_argument("names", nargs="*", metavar="ОТКАЗ", help=f"{', '.join(SCENARIOS)}; без названий — все")
    names = parser.parse_args().names or list(SCENARIOS)
    if unknown := sorted(set(names) - set(SCENARIOS)):
        parser.error(f"нет такого отказа: {', '.join(unknown)}; бывают {', '.join(SCENARIOS)}")
    console = Console()
    results: list[Result] = []
    with running_server() as server:
        for name in names:
            began = time.monotonic()
            with console.status(f"{name}…"), bench_on(server) as bench:
                found = _run(name, bench)
            results += found
            lost = sum(len(result.lost) for result in found)
            console.print(f"{name}: {time.monotonic() - began:.0f} с, потеряно {lost}", highlight=False)
        deadlocks = server.complaints("deadlock detected")
    results.append(Result("взаимные блокировки в журнале сервера", len(names), deadlocks))
    return 0 if show(results, console) else 1


if __name__ == "__main__":
    sys.exit(main())
