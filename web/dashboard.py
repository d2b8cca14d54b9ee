"""What the page shows of the whole queue: read and drawn at most once a second, however many look at it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import token_hex

import counters
import reports
from db import Cursor
from reports import Filter, JobRow, Status

#: Seconds for which a drawing is good.
FRESH_SECONDS = 1.0
#: Jobs of each list.
SHOWN = 6

#: Stands in a drawing where each browser's own token goes; nobody outside can write it.
FORM_TOKEN = token_hex(16)


@dataclass(frozen=True)
class Overview:
    """The queue at a glance."""

    status: Status
    waiting: tuple[JobRow, ...]
    failed: tuple[JobRow, ...]
    done: tuple[JobRow, ...]
    hours: tuple[counters.Hour, ...]
    present: dict[str, int]  # state -> jobs

    @property
    def waited(self) -> float | None:
        """Seconds that the jobs of the last day waited, on average; None where there was none."""
        ended = sum(hour.done + hour.failed for hour in self.hours)
        waited = sum(hour.waited * (hour.done + hour.failed) for hour in self.hours)
        return waited / ended if ended else None


def overview(cursor: Cursor) -> Overview:
    """Return the queue at a glance."""
    status = reports.status(cursor)
    newest = {state: reports.list_jobs(cursor, Filter(state=state), size=SHOWN).jobs for state in ("failed", "done")}
    present = counters.read(cursor).present
    return Overview(
        status,
        reports.next_jobs(cursor, SHOWN),
        newest["failed"],
        newest["done"],
        counters.hours(cursor),
        present,
    )


class Dashboard:
    """The drawing of the overview, made anew when it is old, or something has changed since, and somebody asks.

    Args:
        draw: makes the drawing.
        version: of what is drawn, as far as it is known; browsers are told of another one, and ask at once.
    """

    def __init__(self, draw: Callable[[], Awaitable[str]], version: Callable[[], object] = lambda: None) -> None:
        self._draw = draw
        self._version = version
        self._drawing = ""
        self._drawn: float | None = None
        self._shows: object = None  # the version that was known when it was drawn
        self._one_at_a_time = asyncio.Lock()

    async def html(self, form_token: str) -> str:
        """Return the drawing for a browser; raise DatabaseAway where it cannot be made."""
        async with self._one_at_a_time:
            now = time.monotonic()
            version = self._version()
            if self._drawn is None or now - self._drawn > FRESH_SECONDS or version != self._shows:
                self._drawn, self._shows = now, version
                try:
                    self._drawing = await self._draw()
                except BaseException:
                    self._drawn = None
                    raise
            return self._drawing.replace(FORM_TOKEN, form_token)

    def forget(self) -> None:
        """Draw anew at the next look: something was just changed from here."""
        self._drawn = None
