"""What monitoring is told of parsers: metrics for Prometheus, checks for health."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from db import Cursor
from workloads import Check

#: Seconds after which a task that waits to be sent is a reason to look.
UNSENT_SECONDS = 60.0
#: Statuses not yet applied beyond which somebody should look.
LAG = 10_000

_TASKS = """
SELECT status, source_type, sum(tasks)::bigint FROM parsers.task_count
GROUP BY 1, 2 HAVING sum(tasks) <> 0 ORDER BY 1, 2
"""
_REFUSALS = {
    "applied": "Statuses that were applied.",
    "ignored": "Statuses that came after a task's end.",
    "malformed": "Messages that are no status.",
    "unknown": "Statuses of tasks that are not there.",
}


@dataclass(frozen=True)
class Partition:
    """How far the statuses of a partition are applied."""

    topic: str
    number: int
    next_offset: int
    end_offset: int

    @property
    def lag(self) -> int:
        """Messages that are not applied yet, as far as is known."""
        return max(0, self.end_offset - self.next_offset)


def tasks(cursor: Cursor) -> list[tuple[str, str, int]]:
    """Return how many tasks are in which state, by the type of their source."""
    cursor.execute(_TASKS)
    return [(str(state), str(kind), int(count)) for state, kind, count in cursor.fetchall()]


def partitions(cursor: Cursor) -> list[Partition]:
    """Return how far each partition is applied."""
    cursor.execute("SELECT topic, partition, next_offset, end_offset FROM parsers.consumed ORDER BY topic, partition")
    return [Partition(*row) for row in cursor.fetchall()]


def counters(cursor: Cursor) -> dict[str, int]:
    """Return what became of all messages so far."""
    cursor.execute("SELECT name, value FROM parsers.counter")
    return dict(cursor.fetchall())


def unsent(cursor: Cursor) -> float:
    """Return the seconds for which the oldest task has been waiting that is still to be sent; 0 where none waits."""
    cursor.execute(
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM parsers.task"
        " WHERE status = 'created'"
    )
    return float((cursor.fetchone() or (0.0,))[0])


def collect(cursor: Cursor) -> Iterator[Metric]:
    """Give tasks by state, the lag, and what became of the messages."""
    present = GaugeMetricFamily("tksva_q_parser_tasks", "Tasks of parsers by state.", labels=["state", "type"])
    for state, kind, count in tasks(cursor):
        present.add_metric([state, kind], count)
    yield present
    lag = sum(partition.lag for partition in partitions(cursor))
    yield GaugeMetricFamily("tksva_q_parser_lag", "Statuses not applied yet.", lag)
    yield GaugeMetricFamily(
        "tksva_q_parser_oldest_unsent_seconds", "Seconds the oldest task has waited to be sent.", unsent(cursor)
    )
    counted = counters(cursor)
    for name, text in _REFUSALS.items():
        yield CounterMetricFamily(f"tksva_q_parser_{name}", text, counted[name])


def checks(cursor: Cursor) -> dict[str, Check]:
    """Judge the lag and the tasks that wait to be sent; the services are judged by themselves."""
    lag, waits = sum(partition.lag for partition in partitions(cursor)), unsent(cursor)
    return {
        "parser_lag": Check("warning" if lag > LAG else "ok", f"не применено статусов: {lag}"),
        "parser_outbox": Check("warning", f"задача ждёт отправки {waits:.0f} с")
        if waits > UNSENT_SECONDS
        else Check("ok", "отправлено"),
    }
