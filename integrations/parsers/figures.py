"""What Prometheus is told about parsers."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from db import Cursor

_TASKS = """
SELECT t.status, g.source_type, count(*) FROM parsers.task t JOIN parsers.task_group g ON g.id = t.group_id
GROUP BY 1, 2 ORDER BY 1, 2
"""


def metrics(cursor: Cursor) -> list[Metric]:
    """Return tasks by state, the consumer's lag, and what it could not use."""
    tasks = GaugeMetricFamily("tksva_q_parser_tasks", "Tasks of parsers by state.", labels=["state", "type"])
    cursor.execute(_TASKS)
    for state, kind, count in cursor.fetchall():
        tasks.add_metric([state, kind], count)
    cursor.execute("SELECT coalesce(sum(greatest(end_offset - next_offset, 0)), 0) FROM parsers.consumed")
    lag = GaugeMetricFamily("tksva_q_parser_lag", "Statuses not applied yet.", float((cursor.fetchone() or (0,))[0]))
    cursor.execute("SELECT name, value FROM parsers.counter ORDER BY name")
    refused = [
        CounterMetricFamily(f"tksva_q_parser_{name}", f"Status messages that were {name}.", value)
        for name, value in cursor.fetchall()
    ]
    return [tasks, lag, *refused]
