"""The inference process: a socket and the settings come in, front ends are served until a signal comes.

The watchdog ends the process if a batch hangs, as it does in a process that is alone; whoever started it starts it
again. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from prometheus_client import generate_latest

from app.concurrency.watchdog import Watchdog
from app.errors import NotReady
from app.inference.predictor import Predictor
from app.inference.registry import model_source
from app.inference.remote import pages
from app.inference.remote.inference import InferenceServer
from app.inference.repository import ModelVersion
from app.inference.servable import STUCK_BATCH, DeviceContext, device_threads
from app.observability.gpu_metrics import watch_gpus
from app.observability.metrics import Metrics, watch_loop_lag
from app.settings import Settings
from model.contract import read_manifest

_log: Final = logging.getLogger(__name__)

Load = Callable[[Path], Predictor]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an inference process stands: its name, the index of its GPU, and how many front ends it serves."""

    name: str
    gpu: int
    front_ends: int


def loader(settings: Settings, gpu: int) -> Load:
    """Load the model of a folder as the settings say, on the GPU of this index. It raises ContractError or
    LoadError."""
    source = model_source(settings, gpu=gpu)
    return lambda path: source.load(ModelVersion(path, read_manifest(path), 0))


def run(settings: Settings, listener: socket.socket, place: Place, load: Load) -> None:
    """Serve front ends until SIGTERM or SIGINT comes and they have left."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Process(settings, place, load).serve(listener))


class _Process:
    """What an inference process has beside its server: threads, watchdog, metrics and signals."""

    def __init__(self, settings: Settings, place: Place, load: Load) -> None:
        self._settings = settings
        self._place = place
        self._load = load
        self._metrics = Metrics()
        self._watchdog = Watchdog(settings.stuck_after_ms / 1000)
        self._batches = self._watchdog.pool(STUCK_BATCH, 1)
        self._threads = device_threads(settings)

    async def serve(self, listener: socket.socket) -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        metrics, settings = self._metrics, self._settings
        device = DeviceContext(self._threads, self._batches, metrics, settings, self._place.front_ends)
        server = InferenceServer(
            self._place.name, self._load, device, stuck=lambda: self._watchdog.stuck, page=self._page
        )
        self._publish(server)
        self._watchdog.start(metrics.stuck.inc, lambda: None)
        _log.info("waiting for front ends")
        # One is enough: each sees all GPUs of the host.
        gpus = nullcontext() if self._place.gpu else watch_gpus(metrics.registry)
        with gpus:
            async with watch_loop_lag(metrics.loop_lag_seconds.observe):
                await server.serve(listener, stopping, settings.drain_timeout_ms / 1000)
        self._watchdog.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _publish(self, server: InferenceServer) -> None:
        metrics = self._metrics

        def check_ready() -> None:
            if self._watchdog.stuck or not all(each.alive for each in server.models):
                raise NotReady("")

        def batch_limit() -> int:
            return min((each.model.batch_limit for each in server.models), default=0)

        metrics.watch_ready(check_ready)
        metrics.queue_depth.set_function(lambda: sum(each.depth for each in server.models))
        metrics.batch_limit.set_function(batch_limit)
        oldest_s = partial(self._watchdog.oldest_s, self._batches)
        metrics.oldest_step_seconds.labels("batch").set_function(oldest_s)

    def _page(self) -> str:
        return pages.of_inference(generate_latest(self._metrics.registry).decode())
