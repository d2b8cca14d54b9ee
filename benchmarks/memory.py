"""What a process costs, by the kernel's own accounts."""

from pathlib import Path


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has ever had, in bytes."""
    return _status(pid, "VmHWM:")


def resident_memory(pid: int) -> int:
    """Return the memory that a process has, in bytes."""
    return _status(pid, "VmRSS:")


def _status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def processor_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process so far."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9
