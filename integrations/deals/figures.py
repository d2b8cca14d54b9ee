"""What Prometheus is told of the deals: the counters are rows, so it does not matter which process worked."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from db import Cursor
from integrations.deals import broker


def collect(cursor: Cursor) -> Iterator[Metric]:
    """Give the six metrics."""
    cursor.execute("SELECT name, number, seconds FROM tksva_q.deal_counter")
    counted = {name: (number, seconds) for name, number, seconds in cursor.fetchall()}
    cursor.execute("SELECT state, count(*) FROM tksva_q.deal WHERE state <> 'done' GROUP BY 1")
    present = dict(cursor.fetchall())
    # The library itself adds `_total`.
    tasks = CounterMetricFamily("company_tasks_processed", "Deals that were processed.", labels=["status"])
    for status in ("successful", "failed"):
        tasks.add_metric([status], counted[status][0])
    yield tasks
    ended = (counted["successful"], counted["failed"])
    yield SummaryMetricFamily(
        "company_task_processing_time_second",
        "Seconds that a deal took.",
        sum(number for number, _ in ended),
        sum(seconds for _, seconds in ended),
    )
    yield GaugeMetricFamily("company_tasks_in_queue", "Deals that wait.", present.get("waiting", 0))
    yield GaugeMetricFamily("company_tasks_in_queue_errors", "Deals that failed.", present.get("failed", 0))
    yield CounterMetricFamily(
        "company_redis_errors", "Errors of the broker.", counted["broker"][0] + broker.unwritten()
    )
    yield CounterMetricFamily("company_bitrix_errors", "Errors of Bitrix24.", counted["bitrix"][0])
