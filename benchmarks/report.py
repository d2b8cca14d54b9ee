"""What was measured, as tables: on the terminal and in RESULTS.md."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Whose versions stand in the report.
PACKAGES = (
    "psycopg2-binary",
    "isal",
    "polars",
    "connectorx",
    "rustpy-xlsxwriter",
    "xlsxwriter",
    "openpyxl",
    "procrastinate",
    "psycopg",
    "pgqueuer",
    "asyncpg",
    "rq",
    "dramatiq",
    "redis",
    "taskiq",
    "taskiq-aio-pika",
    "aiokafka",
)


@dataclass(frozen=True)
class Goal:
    """A figure that is to be reached."""

    text: str  # what, how much is wanted, how much it is
    met: bool


@dataclass
class Section:
    """One part of the report."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def most(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """Add a goal: at most so much."""
        self.goals.append(
            Goal(f"{what}: {_number(value)}{unit}, at most {_number(limit)}{unit} wanted", value <= limit)
        )

    def least(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """Add a goal: at least so much."""
        self.goals.append(
            Goal(f"{what}: {_number(value)}{unit}, at least {_number(limit)}{unit} wanted", value >= limit)
        )

    def markdown(self) -> str:
        """Return the section as Markdown that is readable as it stands."""
        lines = [f"## {self.title}", "", *_table(self.columns, self.rows), ""]
        lines += [f"- {'met' if goal.met else '**missed**'} — {goal.text}" for goal in self.goals]
        return "\n".join([*lines, *([""] * bool(self.goals)), *(f"{note}\n" for note in self.notes)])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    lines = [
        "| "
        + " | ".join(_aligned(cell, width, place) for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in cells
    ]
    rule = (
        "|"
        + "|".join(("-" * (width + 2) if not place else "-" * (width + 1) + ":") for place, width in enumerate(widths))
        + "|"
    )
    return [lines[0], rule, *lines[1:]]


def _aligned(cell: str, width: int, place: int) -> str:
    return cell.ljust(width) if place == 0 else cell.rjust(width)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(value: float) -> str:
    """Return seconds as a person reads them."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 0.001 else f"{value * 1e6:.0f} µs"


def megabytes(value: float | None) -> str:
    """Return bytes in MB (10^6)."""
    return "" if value is None else f"{value / 1e6:,.0f} MB"


def rate(value: float) -> str:
    """Return how many a second."""
    return f"{value:,.0f}/s"


def times(value: float) -> str:
    """Return a ratio."""
    return f"{value:.2f} ×"


def machine(postgres: str) -> list[str]:
    """Return what the figures depend on; nothing that names the machine or its folders."""
    cores = _value("/proc/cpuinfo", "model name")
    memory = int(_value("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return [
        f"- {platform.machine()}, {_cores()} cores ({cores}), {memory:.0f} GiB of memory, Linux {platform.release()}",
        f"- Python {platform.python_version()}, PostgreSQL {postgres}, durable (fsync and synchronous_commit on), "
        "its other settings as they come",
        f"- {packages}",
    ]


def _cores() -> int:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8").count("processor\t")


def _value(path: str, key: str) -> str:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
