"""The fault suite with small numbers: too many jobs, bad input, a full disk, a swapped table, other workloads."""

from __future__ import annotations

import pytest

from faults.bench import Bench
from faults.inspector import SLACK
from tests.breaking import bench, nothing_lost, server
from tests.waiting import BUSY

__all__ = ["bench", "server"]  # fixtures

# What they start is waited for as long as pytest would wait for them.
pytestmark = pytest.mark.timeout(300)

#: Scenario -> how little of it there is here.
SMALL: dict[str, dict[str, float]] = {
    "crowd": {"jobs": 60},
    "inspector": {"swaps": 8, "slack": SLACK * BUSY},
    "bad_input": {"inputs": 100},
    "disk_full": {"times": 1},
    "schedules": {"seconds": 6, "period": 2},
    "deals": {"deals": 30, "times": 2, "few": 10, "many": 30, "alone": 0},
    "parsers": {"statuses": 1500, "kills": 2, "restarts": 1},
}


@pytest.mark.parametrize("fault", SMALL)
def test_nothing_is_lost_when_there_is_too_much_or_something_wrong(bench: Bench, fault: str) -> None:
    assert nothing_lost(bench, fault, **SMALL[fault])
