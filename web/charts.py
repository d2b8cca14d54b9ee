"""Pictures of numbers: where the bars of a chart stand, in the units of its drawing; colours are the style sheet's."""

from collections.abc import Sequence
from dataclasses import dataclass

from counters import Hour
from reports import ExportPage
from words import count, duration, speed

WIDTH, HEIGHT = 720.0, 120.0
#: Least height of a bar that is not nothing.
VISIBLE = 3.0
#: Bars of the picture of a job's speed; more pages are put together.
MOST_BARS = 90


@dataclass(frozen=True)
class Bar:
    """A bar, or a part of one."""

    x: float
    y: float
    width: float
    height: float
    kind: str  # which colour
    text: str  # what it says to whoever points at it, or cannot see it


def day(hours: Sequence[Hour]) -> list[Bar]:
    """Return the jobs of the last hours: done, with those that failed on top of them."""
    most = max((hour.done + hour.failed + hour.cancelled for hour in hours), default=0)
    step, bars = WIDTH / max(1, len(hours)), []
    for place, hour in enumerate(hours):
        base = HEIGHT
        when = f"{hour.begin.astimezone():%H}:00"
        for kind, number, words in (
            ("ok", hour.done, ("готово", "готово", "готово")),
            ("bad", hour.failed, ("ошибка", "ошибки", "ошибок")),
            ("off", hour.cancelled, ("отменено", "отменено", "отменено")),
        ):
            if number:
                height = max(VISIBLE, number / most * (HEIGHT - 6))
                base -= height
                bars.append(Bar(place * step + 2, base, step - 4, height, kind, f"{when} — {count(number, *words)}"))
    return bars


def waiting(hours: Sequence[Hour]) -> list[Bar]:
    """Return how long the jobs of the last hours had waited, on average."""
    longest = max((hour.waited for hour in hours), default=0.0)
    step, height = WIDTH / max(1, len(hours)), HEIGHT / 2
    bars = []
    for place, hour in enumerate(hours):
        if hour.waited > 0:
            tall = max(VISIBLE, hour.waited / longest * (height - 4))
            text = (
                f"{hour.begin.astimezone():%H}:00 — в среднем {duration(hour.waited)},"
                f" дольше всех {duration(hour.waited_longest)}"
            )
            bars.append(Bar(place * step + 2, height - tall, step - 4, tall, "wait", text))
    return bars


def pages(written: Sequence[ExportPage]) -> list[Bar]:
    """Return the speed of a job's pages."""
    size = -(-len(written) // MOST_BARS) or 1
    groups = [written[first : first + size] for first in range(0, len(written), size)]
    speeds = [sum(page.rows for page in group) / (sum(_seconds(page) for page in group) or 1e-9) for group in groups]
    fastest, step = max(speeds, default=0.0) or 1.0, WIDTH / max(len(groups), 12)
    bars = []
    for place, (group, rows) in enumerate(zip(groups, speeds, strict=True)):
        height = max(VISIBLE, rows / fastest * (HEIGHT - 6))
        numbers = f"{group[0].number}" if len(group) == 1 else f"{group[0].number}–{group[-1].number}"
        text = f"страница {numbers}: {speed(rows)}"
        bars.append(Bar(place * step + 1, HEIGHT - height, max(1.0, step - 2), height, "run", text))
    return bars


def _seconds(page: ExportPage) -> float:
    return float(page.seconds.get("page", 0.0)) or sum(page.seconds.values())
