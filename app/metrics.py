"""Every Prometheus collector of the service, once. Knows no HTTP and no pixels.

Each app has a registry of its own, so that two apps in one process do not share numbers. Labels are route
templates, statuses, stage names and error codes: never anything that a client can choose.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from app.recipe import Finished

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHARES: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The collectors of one app, registered in `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "matte_requests_total", "HTTP requests answered.", ["route", "status"], registry=self.registry
        )
        self.request_seconds = self._histogram(
            "matte_request_seconds",
            "First byte of a request to last byte of its answer.",
            _SECONDS,
            ["route"],
        )
        self.inflight = Gauge(
            "matte_inflight", "Matte requests admitted and not answered.", registry=self.registry
        )
        self.queue_depth = Gauge("matte_queue_depth", "Pictures waiting for a batch.", registry=self.registry)
        self.queue_wait_seconds = self._histogram(
            "matte_queue_wait_seconds", "From a picture's queueing to the start of its batch.", _SECONDS
        )
        self.rejected = Counter(
            "matte_rejected_total", "Requests refused by admission.", ["reason"], registry=self.registry
        )
        self.batch_size = self._histogram(
            "matte_batch_size", "Pictures in a batch, without padding.", _COUNTS
        )
        self.batch_padding = self._histogram("matte_batch_padding", "Empty places in a batch.", (0, *_COUNTS))
        self.stage_seconds = self._histogram(
            "matte_stage_seconds", "Work in one stage of the pipeline, without waiting.", _SECONDS, ["stage"]
        )
        self.confidence = self._histogram(
            "matte_confidence", "The mIoU to expect of a matte, from the network's own alpha.", _SHARES
        )
        self.foreground = Counter(
            "matte_foreground_total",
            "Mattes by what was found in the photo: person or none.",
            ["foreground"],
            registry=self.registry,
        )
        self.model = Info("matte_model", "The model in service.", registry=self.registry)

    def observe(self, finished: Finished) -> None:
        """Count a finished photo."""
        self.confidence.observe(finished.confidence)
        self.foreground.labels(finished.found).inc()
        for stage, seconds in finished.seconds.items():
            self.stage_seconds.labels(stage).observe(seconds)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], labels: list[str] | None = None
    ) -> Histogram:
        return Histogram(name, text, labels or [], buckets=buckets, registry=self.registry)
