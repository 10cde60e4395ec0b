"""All Prometheus collectors of the service. Knows no HTTP and no pixels.

Each app has a registry of its own, so that two apps in one process do not share numbers. Labels are route templates,
statuses, stage names and error codes: never anything that a client can choose. Of several processes behind one port
each counts for itself, and whichever is asked answers with the numbers of all (`app.inference.remote.pages`).

Every label value exists from the start, as zero: Prometheus cannot tell a first event from the start of a series.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from app.errors import NotReady
from app.observability.timing import Stage

MODEL_LABELS: Final = ("name", "version", "device", "runtime", "precision", "sha256", "role")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHARES: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0)
_DIFFERENCES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MEGAPIXELS: Final = (0.25, 0.5, 1, 2, 4, 8, 12, 16, 24, 32, 50, 100, 200)
_CPU_STAGES: Final = ("decode", "refine", "compose", "encode")
_STAGES: Final = (*_CPU_STAGES, "infer")
_REFUSALS: Final = ("queue_full", "rate_limited", "not_ready", "file_too_large", "deadline_passed")


@dataclass(frozen=True, slots=True)
class RouteMetrics:
    """The collectors of one route: seconds of its requests, bytes of their bodies and of their answers."""

    seconds: Histogram
    received_bytes: Counter
    sent_bytes: Counter


class Metrics:
    """The collectors of one app, registered in `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._by_route: dict[str, RouteMetrics] = {}
        self._add_requests()
        self._add_waits()
        self._add_work()
        self._add_results()
        self._add_models()
        self._add_state()
        self._add_faults()

    def _add_requests(self) -> None:
        self.requests = self._counter("matte_requests_total", "HTTP requests answered.", ["route", "status"])
        self.request_seconds = self._histogram(
            "matte_request_seconds",
            "First byte of a request to last byte of its answer.",
            _SECONDS,
            ["route"],
        )
        self.errors = self._counter("matte_errors_total", "Answers that are errors, by their code.", ["code"])
        self.rejected = self._counter("matte_rejected_total", "Requests refused by admission.", ["reason"])
        for refusal in _REFUSALS:
            self.rejected.labels(refusal)
        self.received_bytes = self._counter(
            "matte_received_bytes_total", "Bytes of request bodies.", ["route"]
        )
        self.discarded_bytes = self._counter(
            "matte_discarded_bytes_total", "Bytes that came after their request had been refused.", []
        )
        self.sent_bytes = self._counter("matte_sent_bytes_total", "Bytes of answers' bodies.", ["route"])
        self.inflight = self._gauge("matte_inflight", "Matte requests admitted and not answered.")
        self.inflight_limit = self._gauge(
            "matte_inflight_limit",
            "Most requests in flight, fewer under sustained overload; one more gets 429.",
        )
        self.connections = self._gauge("matte_connections", "Open connections.")

    def _add_waits(self) -> None:
        self.queue_depth = self._gauge("matte_queue_depth", "Pictures waiting for a batch.")
        self.queue_wait_seconds = self._histogram(
            "matte_queue_wait_seconds", "From a picture's queueing to the start of its batch.", _SECONDS
        )
        self.cpu_queue_depth = self._gauge(
            "matte_cpu_queue_depth", "Pieces of work waiting for a CPU thread."
        )
        self.cpu_wait_seconds = self._histogram(
            "matte_cpu_wait_seconds", "Wait of a piece of work for a CPU thread.", _SECONDS
        )
        self.decoded_bytes = self._gauge("matte_decoded_bytes", "Bytes reserved for decoded photos.")
        self.decoded_bytes_limit = self._gauge(
            "matte_decoded_bytes_limit", "Limit of these bytes; other photos wait undecoded."
        )
        self.loop_lag_seconds = self._histogram(
            "matte_loop_lag_seconds", "How late the event loop woke up.", _SECONDS
        )

    def _add_work(self) -> None:
        self.batch_size = self._histogram(
            "matte_batch_size", "Pictures in a batch, without padding.", _COUNTS
        )
        self.batch_padding = self._histogram("matte_batch_padding", "Empty places in a batch.", (0, *_COUNTS))
        self.stage_seconds = self._histogram(
            "matte_stage_seconds", "Work in one stage of the pipeline, without waiting.", _SECONDS, ["stage"]
        )
        for stage in _STAGES:
            self.stage_seconds.labels(stage)
        self.photo_megapixels = self._histogram(
            "matte_photo_megapixels",
            "Millions of pixels of a photo and its background's picture.",
            _MEGAPIXELS,
        )

    def _add_results(self) -> None:
        self.confidence = self._histogram(
            "matte_confidence", "The mIoU to expect of a matte, from the network's own alpha.", _SHARES
        )
        self.foreground = self._counter(
            "matte_foreground_total", "Mattes by what was found in the photo: person or none.", ["foreground"]
        )
        for found in ("person", "none"):
            self.foreground.labels(found)

    def _add_state(self) -> None:
        self.ready = self._gauge("matte_ready", "1 where a photo that comes now would be served.")
        build = Info("matte_build", "The program in service.", registry=self.registry)
        build.info({"version": version("u2matte"), "python": platform.python_version()})

    def _add_faults(self) -> None:
        self.batch_limit = self._gauge(
            "matte_batch_limit", "Pictures in one call of the network that memory allows."
        )
        self.out_of_memory = self._counter(
            "matte_out_of_memory_total", "Steps that memory was too little for: batch or photo.", ["step"]
        )
        self.oldest_step_seconds = Gauge(
            "matte_oldest_step_seconds",
            "Age of the oldest step under way: batch or photo.",
            ["step"],
            registry=self.registry,
        )
        for step in ("batch", "photo"):
            self.out_of_memory.labels(step)
        self.stuck = self._counter(
            "matte_stuck_total", "Times that work hung for longer than MATTE_STUCK_AFTER_MS.", []
        )

    def for_route(self, route: str) -> RouteMetrics:
        """The collectors of one route, cached because a service under overload asks for them often."""
        if route not in self._by_route:
            self._by_route[route] = RouteMetrics(
                self.request_seconds.labels(route),
                self.received_bytes.labels(route),
                self.sent_bytes.labels(route),
            )
        return self._by_route[route]

    def watch_ready(self, check: Callable[[], None]) -> None:
        """Let `matte_ready` report, at each scrape, whether `check` raises NotReady."""

        def ready() -> float:
            try:
                check()
            except NotReady:
                return 0.0
            return 1.0

        self.ready.set_function(ready)

    def _add_models(self) -> None:
        self._model = Gauge(
            "matte_model_info",
            "1 for each model in service; the role is default, kept or shadow.",
            MODEL_LABELS,
            registry=self.registry,
        )
        self.model_load_failures = Counter(
            "matte_model_load_failures_total", "Models that could not be loaded.", registry=self.registry
        )
        self.shadow = Counter(
            "matte_shadow_total",
            "Photos by what the candidate beside the default model did: compared, passed_over or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.shadow_difference = self._histogram(
            "matte_shadow_difference",
            "Mean absolute difference of the candidate's matte, 0..1.",
            _DIFFERENCES,
        )

    def set_models(self, models: Iterable[Sequence[str]]) -> None:
        """Publish the models in service: the labels of each, in the order of MODEL_LABELS."""
        self._model.clear()
        for labels in models:
            self._model.labels(*labels).set(1)

    def observe_stage(self, stage: Stage) -> None:
        """Count a stage of a photo's work on the CPU."""
        if stage.name in _CPU_STAGES:
            self.stage_seconds.labels(stage.name).observe(stage.ended - stage.began)

    def observe_photo(self, found: str, confidence: float, queue_s: float) -> None:
        """Count a finished photo: what was found in it, how sure, and how long it waited for the network."""
        self.confidence.observe(confidence)
        self.foreground.labels(found).inc()
        self.queue_wait_seconds.observe(queue_s)

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


LAG_PROBE_S: Final = 0.25


async def measure_loop_lag(
    observe: Callable[[float], None],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Sleep for a quarter of a second, and `observe` by how many seconds the wake-up was late. Repeats for ever."""
    while True:
        due = clock() + LAG_PROBE_S
        await sleep(LAG_PROBE_S)
        observe(max(0.0, clock() - due))


@asynccontextmanager
async def watch_loop_lag(observe: Callable[[float], None]) -> AsyncIterator[None]:
    """Run `measure_loop_lag` while the context lasts."""
    task = asyncio.create_task(measure_loop_lag(observe), name="loop lag")
    try:
        yield
    finally:
        task.cancel()
