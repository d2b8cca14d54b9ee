"""What Prometheus is told: the database's own counters, and how the queue stands at this moment."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import counters
import services
from db import Cursor
from workloads import Workload

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NOW = """
SELECT count(*), coalesce(extract(epoch FROM localtimestamp - min(queued_at)), 0)::float,
       (SELECT count(*) FROM tksva_q.job WHERE state = 'running'),
       (SELECT coalesce(max(loop_seconds), 0) FROM tksva_q.worker),
       (SELECT coalesce(extract(epoch FROM max(loop_at)), 0)::float FROM tksva_q.worker)
FROM tksva_q.job WHERE state = 'waiting'
"""


def collect(cursor: Cursor, workloads: Iterable[Workload] = ()) -> bytes:
    """Return all metrics in Prometheus's text format, those of the workloads last."""
    counts = counters.read(cursor)
    cursor.execute(_NOW)
    waiting, oldest, running, loop_seconds, loop_at = cursor.fetchone() or (0, 0.0, 0, 0.0, 0.0)
    registry = CollectorRegistry()
    states = {"waiting": waiting, "running": running, **counts.present}
    gauges = {
        "tksva_q_oldest_waiting_seconds": ("Seconds since the oldest waiting job was queued, 0 for none.", oldest),
        "tksva_q_loop_seconds": ("Longest turn of a loop since its last heartbeat.", loop_seconds),
        "tksva_q_last_loop_timestamp_seconds": ("When a loop last said that it goes round, 0 for never.", loop_at),
    }
    registry.register(_Figures(counts, states, gauges))
    workloads = list(workloads)
    registry.register(_Given(_services(services.states(cursor, services.defined(workloads)))))
    for workload in workloads:
        registry.register(_Given(list(workload.part("metrics", cursor))))
    return generate_latest(registry)


def _services(states: list[services.State]) -> list[Metric]:
    up = GaugeMetricFamily("tksva_q_service_up", "1 while a service lives beside every daemon.", labels=["service"])
    instances = GaugeMetricFamily("tksva_q_service_instances", "How many of a service live.", labels=["service"])
    restarts = CounterMetricFamily(
        "tksva_q_service_restarts", "How often a service had died and was started again.", labels=["service"]
    )
    for state in states:
        up.add_metric([state.name], float(state.up))
        instances.add_metric([state.name], state.alive)
        restarts.add_metric([state.name], state.restarts)
    return [up, instances, restarts] if states else []


class _Given(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Give the metrics one after the other."""
        return iter(self._metrics)


class _Figures(Collector):
    def __init__(self, counts: counters.Counts, states: dict[str, int], gauges: dict[str, tuple[str, float]]) -> None:
        self._counts = counts
        self._states = states
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Give the metrics one after the other."""
        counts = self._counts
        jobs = CounterMetricFamily("tksva_q_jobs", "Jobs that ended.", labels=["form", "outcome"])
        for ended in counts.ended:
            jobs.add_metric([ended.form, ended.outcome], ended.jobs)
        yield jobs
        seconds = HistogramMetricFamily(
            "tksva_q_job_seconds", "Seconds of a job from its first start to its end.", labels=["form"]
        )
        for durations in counts.durations:
            seconds.add_metric([durations.form], counters.cumulated(durations), durations.seconds)
        yield seconds
        for name, text, label, values in (
            ("tksva_q_rows", "Rows in finished files.", "form", counts.rows),
            ("tksva_q_bytes", "Bytes of finished files.", "format", counts.bytes),
            ("tksva_q_requeued", "Attempts after which the job went back to the queue.", "form", counts.requeued),
        ):
            counter = CounterMetricFamily(name, text, labels=[label])
            for key, value in values.items():
                counter.add_metric([key], value)
            yield counter
        yield CounterMetricFamily("tksva_q_rescued", "Jobs taken over from workers that died.", counts.rescued)
        # Named as the contract names it: a gauge beside the counter tksva_q_jobs_total.
        present = GaugeMetricFamily("tksva_q_jobs", "Jobs by state.", labels=["state"])
        for state, number in self._states.items():
            present.add_metric([state], number)
        yield present
        for name, (text, figure) in self._gauges.items():
            yield GaugeMetricFamily(name, text, figure)
