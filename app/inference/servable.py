"""One model in service: squares of photos in, their alphas out, in batches on the device's threads.

Owns the model's batcher, and counts the requests that use the model, so that it is unloaded after the last one. The
squares of one photo (its mirrored copy, its tiles) are submitted together: all succeed, or none. Knows no photos, no
files and no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from app.concurrency.watchdog import Steps
from app.errors import InferenceFailed
from app.inference.batcher import Batched, Batcher
from app.inference.predictor import Predictor, memory_errors
from app.observability import timing
from app.observability.metrics import Metrics
from app.settings import Settings
from model.contract import Manifest
from model.matting import VIEWS_MAX
from model.transforms import Alpha, Image


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What all models of a process share: the threads that run networks, the watchdog's steps, metrics and
    settings."""

    threads: Executor
    steps: Steps
    metrics: Metrics
    settings: Settings


class Servable:
    """A warm model with its own batcher. Create it inside a running event loop."""

    def __init__(self, predictor: Predictor, device: DeviceContext) -> None:
        self.predictor = predictor
        self._device = device
        self._arriving = 0  # photos being decoded, whose squares will be submitted next
        self._users = 0
        self._released = asyncio.Event()
        settings, largest = device.settings, predictor.batch_sizes[-1]
        self._batcher: Batcher[Image, Alpha] = Batcher(
            self._run_batch,
            max_size=min(settings.max_batch_size or largest, largest),
            max_wait_s=settings.batch_wait_ms / 1000,
            max_queue=settings.max_queue * VIEWS_MAX,
            lanes=predictor.lanes,
            expected=lambda: self._arriving,
        )

    @property
    def manifest(self) -> Manifest:
        return self.predictor.manifest

    @property
    def alive(self) -> bool:
        """Whether squares that are submitted now will be served."""
        return self._batcher.alive

    @property
    def depth(self) -> int:
        """Squares that wait for a batch."""
        return self._batcher.depth

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the model loaded while the context lasts."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._released.set()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """A photo for this model is being decoded in this context: a batch may wait for its squares."""

        def arrived() -> None:
            self._arriving -= 1
            self._batcher.notify()

        self._arriving += 1
        try:
            yield
        finally:
            # After the tasks have queued the squares: otherwise a batch might start without them.
            asyncio.get_running_loop().call_soon(arrived)

    def submit_squares(self, squares: Sequence[Image]) -> list[asyncio.Task[Batched[Alpha]]]:
        """Submit the squares of one photo; await the tasks with `gather`."""
        return submit_all(self._batcher, squares)

    def flush(self) -> None:
        """From now on start batches without waiting for more squares. Safe to call from a signal handler."""
        self._batcher.flush()

    async def unload(self) -> None:
        """Wait until no request uses the model, and close it."""
        while self._users:
            self._released.clear()
            await self._released.wait()
        await self.close()

    async def close(self) -> None:
        """Close the batcher; waiting squares get NotReady."""
        await self._batcher.close(0)

    async def _run_batch(self, squares: Sequence[Image]) -> list[Alpha | InferenceFailed]:
        metrics = self._device.metrics
        metrics.batch_size.observe(len(squares))
        metrics.batch_padding.observe(self.predictor.padded_size(len(squares)) - len(squares))
        work = partial(self._predict, squares)
        with (
            metrics.stage_seconds.labels("infer").time(),
            memory_errors(metrics.out_of_memory.labels("batch").inc),
        ):
            return await asyncio.get_running_loop().run_in_executor(self._device.threads, work)

    def _predict(self, squares: Sequence[Image]) -> list[Alpha | InferenceFailed]:
        with self._device.steps.step():
            return self.predictor.predict_each(np.stack(squares))


In = TypeVar("In")
Out = TypeVar("Out")


def submit_all(batcher: Batcher[In, Out], items: Sequence[In]) -> list[asyncio.Task[Batched[Out]]]:
    """Submit each item, in the order given; return a task for each."""
    return [asyncio.create_task(_submit_one(batcher, item)) for item in items]


async def gather(waiting: Sequence[asyncio.Task[Batched[Out]]]) -> list[Batched[Out]]:
    """The output of each task; if one fails, the others are cancelled."""
    try:
        return list(await asyncio.gather(*waiting))
    finally:
        for each in waiting:
            each.cancel()


async def _submit_one(batcher: Batcher[In, Out], item: In) -> Batched[Out]:
    since = time.perf_counter()
    batched = await batcher.submit(item)
    started = since + batched.queue_s
    timing.record("queue", since, started)
    timing.record("infer", started, started + batched.run_s, pictures=batched.size)
    return batched
