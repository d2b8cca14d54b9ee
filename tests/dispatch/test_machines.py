"""Two machines, each a network namespace of its own; one is cut off in the middle of a job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.bench import Bench, bench_on
from faults.broker import Ground
from faults.machines import obstacle
from faults.rabbitmq import RabbitMQ
from faults.server import running_server


@pytest.fixture
def bench() -> Iterator[Bench]:
    with running_server() as server, bench_on(server) as made:
        yield made


@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
@pytest.mark.timeout(240)
def test_the_job_of_a_machine_that_is_cut_off_goes_on_elsewhere_and_its_child_has_ended_before(
    bench: Bench, rabbitmq: RabbitMQ
) -> None:
    result = Ground(bench, rabbitmq).cut_off(1)
    assert result.times == 1
    assert result.lost == []
