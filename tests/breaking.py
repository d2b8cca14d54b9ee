"""A daemon's surroundings that may be broken, and whether anything was lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.__main__ import SCENARIOS
from faults.bench import Bench, bench_on
from faults.server import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def bench(server: Server) -> Iterator[Bench]:
    with bench_on(server) as made:
        yield made


def nothing_lost(bench: Bench, fault: str, **numbers: float) -> bool:
    """Let so much of a scenario happen, and see that it did happen and nothing was lost."""
    results = SCENARIOS[fault](bench, **numbers)
    assert all(result.times for result in results)
    lost = [line for result in results for line in result.lost]
    assert not lost, "\n".join(lost)
    return True
