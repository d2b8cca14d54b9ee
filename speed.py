"""How fast a running job goes: rows a second over the last seconds, from how far it was at each look."""

from collections import deque

#: Seconds over which a speed is taken: pages come in jumps.
WINDOW = 10.0

Key = tuple[int, int]  # job, attempt


class Speeds:
    """Remembers how far the running jobs were."""

    def __init__(self) -> None:
        self._seen: dict[Key, deque[tuple[float, int]]] = {}

    def add(self, job: Key, rows: int, now: float) -> float | None:
        """Note how far a job is at `now` (seconds); return its rows a second, None while that is not known."""
        seen = self._seen.setdefault(job, deque())
        if not seen or seen[-1][1] != rows:
            seen.append((now, rows))
        while len(seen) > 2 and now - seen[0][0] > WINDOW:  # noqa: PLR2004 -- a speed needs two points
            seen.popleft()
        began, first = seen[0]
        return (rows - first) / (now - began) if rows > first and now > began else None

    def keep(self, jobs: set[Key]) -> None:
        """Forget all other jobs."""
        self._seen = {job: seen for job, seen in self._seen.items() if job in jobs}
