"""Contenders measured in turns: what slows the machine down for a while slows all of them down."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Sample:
    """One run of a contender."""

    seconds: float
    memory: int | None = None  # bytes at the peak
    size: int | None = None  # bytes of the file


Run = Callable[[], Sample]


def in_turns(contenders: Mapping[str, Run], runs: int, before: Callable[[], object]) -> dict[str, list[Sample]]:
    """Run every contender once, then every one once more, and so on; return their samples.

    Args:
        contenders: by name.
        runs: of each.
        before: called before each run, so that nobody pays for what another left undone.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(runs):
        for name, run in contenders.items():
            before()
            samples[name].append(run())
            print(f"  {number + 1}/{runs} {name}: {samples[name][-1].seconds:.3f} s", file=sys.stderr, flush=True)
    return samples


def median(samples: list[Sample]) -> float:
    """Return the median of the seconds."""
    return statistics.median(sample.seconds for sample in samples)


def spread(samples: list[Sample]) -> str:
    """Return the fastest and the slowest run."""
    seconds = [sample.seconds for sample in samples]
    return f"{min(seconds):.2f}–{max(seconds):.2f} s"


def peer(module: str, *arguments: object) -> Sample:
    """Run a peer's export in a process of its own; it says itself how long it took, without start and imports."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    return Sample(said["seconds"], said["memory"], said["size"])


def program(command: list[str], written: Path) -> Sample:
    """Run a program from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Sample(time.perf_counter() - began, None, written.stat().st_size)


def installed(*modules: str) -> bool:
    """Tell whether the peer's packages are there; requirements-bench.txt names them."""
    return all(find_spec(module) is not None for module in modules)
