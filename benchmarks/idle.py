"""What a daemon costs that has nothing to do."""

import time

import psutil

from benchmarks.bench import Bench
from benchmarks.memory import peak_memory, processor_seconds, resident_memory
from benchmarks.report import Section, megabytes

#: Seconds that a daemon gets to come to rest.
SETTLE_SECONDS = 3.0


def measure(bench: Bench) -> Section:
    """Measure the share of a core over a while, and the memory."""
    took = bench.plan.idle_seconds
    section = Section(f"Idle for {took:.0f} s", ("", "share of a core", "resident memory"))
    with bench.daemon(bench.server.database("idle")) as daemon:
        time.sleep(min(SETTLE_SECONDS, took))
        whole = psutil.Process(daemon.process.pid)
        groups = {"the daemon": [whole.pid], "its children": [child.pid for child in whole.children(recursive=True)]}
        before = {name: sum(map(processor_seconds, pids)) for name, pids in groups.items()}
        began = time.perf_counter()
        time.sleep(took)
        passed = time.perf_counter() - began
        shares = {name: (sum(map(processor_seconds, pids)) - before[name]) / passed for name, pids in groups.items()}
        for name, pids in groups.items():
            section.rows.append((name, f"{shares[name]:.2%}", megabytes(sum(map(resident_memory, pids)))))
        section.most("daemon and children, share of a core", sum(shares.values()) * 100, 1, " %")
        section.most("the daemon's memory at its peak", peak_memory(whole.pid) / 1e6, 80, " MB")
    return section
