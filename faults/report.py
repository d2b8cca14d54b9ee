"""What a scenario found out, and the table of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Result:
    """One kind of fault."""

    fault: str
    times: int  # how often it was done to the queue
    lost: Sequence[str] = ()  # what was lost, doubled or let in: a line each
    figures: dict[str, str] = field(default_factory=dict)  # what was measured on the way


def spread(seconds: Sequence[float]) -> str:
    """Return median and maximum of some durations."""
    if not seconds:
        return "—"
    return f"{statistics.median(seconds):.2f} с, наибольшее {max(seconds):.2f} с"


def show(results: Sequence[Result], console: Console) -> bool:
    """Print the table, and every loss in full; return whether nothing was lost."""
    table = Table("отказ", "раз", "потеряно", "измерено", title="Отказы")
    for result in results:
        figures = "\n".join(f"{name}: {value}" for name, value in result.figures.items())
        lost = f"[red]{len(result.lost)}" if result.lost else "0"
        table.add_row(result.fault, str(result.times), lost, figures)
    console.print(table)
    for result in results:
        for line in result.lost:
            console.print(f"[red]{result.fault}:[/] {line}", highlight=False)
    return not any(result.lost for result in results)
