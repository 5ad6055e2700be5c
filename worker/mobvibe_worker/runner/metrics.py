"""Serves a worker's metrics as Prometheus text over HTTP."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mobvibe_worker.errors import ServiceError, StoreError
from mobvibe_worker.jobs import QueueStats
from mobvibe_worker.runner.worker import Worker

ANSWER_SECONDS = 3.0
"""How long a scrape waits for the database."""


@dataclass(frozen=True, eq=False)
class WorkerCollector(Collector):
    """Collects the metrics of a scrape. Scrapes run in threads of the server; the queue is read on `loop`."""

    worker: Worker
    loop: asyncio.AbstractEventLoop

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; those of the queue only while the database answers."""
        about = {"worker": self.worker.id, "version": version("mobvibe-tui")}
        yield InfoMetricFamily("mobvibe_worker", "Who this is.", about)
        stats = self._stats()
        yield GaugeMetricFamily(
            "mobvibe_database_up", "Whether the database answered.", float(stats is not None)
        )
        yield GaugeMetricFamily(
            "mobvibe_listener_connected",
            "Whether notifications arrive.",
            float(self.worker.listener.is_connected),
        )
        if stats is not None:
            yield from _queue(stats)
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        worker, tally = self.worker, self.worker.tally
        yield GaugeMetricFamily(
            "mobvibe_slots", "Jobs it may run at once.", worker.timings.concurrency
        )
        yield GaugeMetricFamily("mobvibe_running", "Jobs it runs.", len(worker.running))
        yield CounterMetricFamily("mobvibe_jobs_claimed", "Jobs it claimed.", tally.claimed)
        ended = CounterMetricFamily(
            "mobvibe_attempts_ended", "Attempts that ended here.", labels=["outcome"]
        )
        for outcome, number in tally.outcomes.items():
            ended.add_metric([outcome.replace(" ", "_")], number)
        yield ended
        yield CounterMetricFamily(
            "mobvibe_jobs_reclaimed", "Jobs it reclaimed from lost workers.", tally.reclaimed
        )
        yield CounterMetricFamily("mobvibe_event_rows", "Events it stored.", tally.event_rows)
        yield CounterMetricFamily(
            "mobvibe_model_cost_usd", "What its turns cost, US dollars.", float(tally.cost_usd)
        )
        yield HistogramMetricFamily(
            "mobvibe_attempt_seconds",
            "From claim to outcome.",
            buckets=tally.durations(),
            sum_value=tally.seconds,
        )

    def _stats(self) -> QueueStats | None:
        asked = asyncio.run_coroutine_threadsafe(self.worker.stores.queue.stats(), self.loop)
        try:
            return asked.result(ANSWER_SECONDS)
        except (StoreError, concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            asked.cancel()
            return None


def _queue(stats: QueueStats) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("mobvibe_jobs", "Jobs by status.", labels=["status"])
    for status in ("pending", "processing", "completed", "failed", "cancelled"):
        jobs.add_metric([status], getattr(stats, status))
    yield jobs
    yield GaugeMetricFamily(
        "mobvibe_oldest_pending_seconds",
        "Age of the oldest job that waits; 0 if none does.",
        stats.oldest_pending_seconds or 0.0,
    )


@asynccontextmanager
async def serving_metrics(worker: Worker, host: str, port: int) -> AsyncIterator[None]:
    """Answer every GET at `host`:`port` with the metrics. Raises ServiceError if that address is not free."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(WorkerCollector(worker, asyncio.get_running_loop()))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"Port {port} is taken, so metrics cannot be served there.",
                "Choose another with --metrics PORT, or stop the program that uses it.",
            ) from error
        raise ServiceError(
            f"Metrics cannot be served at {host}:{port}: {error.strerror}.",
            "Choose another port with --metrics PORT, another address with MOBVIBE_METRICS_HOST.",
        ) from error
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        await asyncio.to_thread(thread.join)
        server.server_close()
