"""Prometheus metrics, in a registry of their own so that two services in one process do not share counters."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from models.spec.wire import JobState
from profiler_service.storage.store import Store

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Bucket bounds: a lookup takes about a millisecond, a large table some hundred."""


class Metrics:
    """What one service counts. Requests as they happen; tables and jobs read from the store at each scrape."""

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StoreCollector(store))
        labels = ("method", "operation", "status")
        self._requests = Counter("opclock_http_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "opclock_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("method", "operation"),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def observe(self, method: str, operation: str, status: int, seconds: float) -> None:
        """Count one request. `operation` is the id that the call has in the service's description."""
        self._requests.labels(method, operation, str(status)).inc()
        self._seconds.labels(method, operation).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format. Raises StorageError."""
        return generate_latest(self._registry)


class _StoreCollector(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        entries = GaugeMetricFamily("opclock_table_entries", "Measurements in a table.", labels=("table", "outcome"))
        for table_id, (ok, failed) in self._store.table_counts().items():
            entries.add_metric((table_id, "ok"), ok)
            entries.add_metric((table_id, "failed"), failed)
        yield entries
        jobs = GaugeMetricFamily("opclock_jobs_unfinished", "Jobs that have not ended.", labels=("state",))
        counts = self._store.job_counts()
        for state in (state for state in JobState if not state.final):
            jobs.add_metric((state.value,), counts.get(state, 0))
        yield jobs
