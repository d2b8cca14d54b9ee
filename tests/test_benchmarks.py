"""Every measurement runs, with tiny numbers: the figures are not judged here, only that there are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.bench import Bench
from benchmarks.plan import Plan
from benchmarks.report import Section

# What they start is waited for as long as pytest would wait for them.
pytestmark = pytest.mark.timeout(300)

TINY = Plan(
    runs=1,
    csv_rows=300,
    csv_memory=(100, 200),
    xlsx_rows=300,
    xlsx_memory=(100, 200),
    page_rows=300,
    chunk_size=100,
    pickups=3,
    drained=20,
    drained_slow=3,
    peers=2,
    brokered=(20, 10, 10),
    broker_workers=(1,),
    history=(50, 100),
    waiting=(10, 20),
    rounds=3,
    statuses=200,
    singles=2,
    idle_seconds=0.5,
    asked=2,
    watched_seconds=1,
    slots=50,
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), TINY)


@pytest.mark.parametrize("part", benchmarks.PARTS)
def test_a_part_gives_figures(bench: Bench, part: str) -> None:
    found = benchmarks.PARTS[part](bench)
    for section in found if isinstance(found, list) else [found]:
        assert section.rows
        assert section.goals or len(section.rows) == 1  # with nobody to compare with there is nothing to reach
        assert {len(row) for row in section.rows} == {len(section.columns)}


def test_the_report_names_what_the_figures_depend_on_and_no_folder(bench: Bench) -> None:
    section = Section("Title", ("", "seconds"), [("the queue", "1.00 s")])
    section.most("whole job × psql", 1.2, 1.15)
    section.least("peer × whole job", 2, 1.4)
    text = benchmarks.report([section], bench)
    assert "PostgreSQL 18" in text
    assert "**missed** — whole job × psql: 1.2, at most 1.15 wanted" in text
    assert "- met — peer × whole job: 2, at least 1.4 wanted" in text
    assert "| the queue | 1.00 s |" in text.replace("  ", " ")
    assert str(bench.folder) not in text
    assert str(Path.home()) not in text


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarks.main(["nothing"])
    assert "no such part: nothing" in capsys.readouterr().err
