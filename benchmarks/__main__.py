"""All measurements, or those that are named: `python -m benchmarks [csv xlsx clickhouse pages …]`."""

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    broker,
    clickhouse,
    csv_job,
    drain,
    history,
    idle,
    page,
    pages,
    parsers,
    pickup,
    punctuality,
    xlsx_job,
)
from benchmarks.bench import Bench
from benchmarks.plan import Plan
from benchmarks.report import Section, machine

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
PARTS: dict[str, Callable[[Bench], Section | list[Section]]] = {
    "csv": csv_job.measure,
    "xlsx": xlsx_job.measure,
    "clickhouse": clickhouse.measure,
    "pages": pages.measure,
    "pickup": pickup.measure,
    "drain": drain.measure,
    "broker": broker.measure,
    "history": history.measure,
    "page": page.measure,
    "parsers": parsers.measure,
    "idle": idle.measure,
    "punctuality": punctuality.measure,
}


def measure(parts: list[str], plan: Plan, folder: Path) -> list[Section]:
    """Run the parts one after another; print each as soon as it is measured."""
    bench = Bench(folder, plan)
    sections: list[Section] = []
    for part in parts:
        began = time.perf_counter()
        found = PARTS[part](bench)
        for section in found if isinstance(found, list) else [found]:
            sections.append(section)
            print(section.markdown(), flush=True)
        print(f"({part}: {time.perf_counter() - began:.0f} s)\n", file=sys.stderr)
    return sections


def main(arguments: list[str] | None = None) -> int:
    """Measure what the arguments name; a run of everything becomes RESULTS.md. Return 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them where none is named")
    parser.add_argument("--runs", type=int, default=Plan.runs, help="of everything that is compared")
    parser.add_argument("--folder", type=Path, help="where everything is written; a temporary one by default")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="tksva_q-", dir=chosen.folder) as folder:
        plan = Plan(runs=chosen.runs)
        sections = measure(chosen.parts or list(PARTS), plan, Path(folder))
        if not chosen.parts:
            RESULTS.write_text(report(sections, Bench(Path(folder), plan)), encoding="utf-8")
            print(f"written: benchmarks/{RESULTS.name}", file=sys.stderr)
    return int(any(not goal.met for section in sections for goal in section.goals))


def report(sections: list[Section], bench: Bench) -> str:
    """Return the whole report as Markdown."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    head = [
        "# Measured",
        "",
        f"By `make bench` on {today}, in one run, the contenders in turns, medians of {bench.plan.runs}:",
        "",
        *machine(bench.server.version),
        "",
    ]
    return "\n".join(head) + "\n" + "\n\n".join(section.markdown().rstrip() for section in sections) + "\n"


if __name__ == "__main__":
    sys.exit(main())
