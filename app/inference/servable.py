"""One model in service: squares of photos come in, their alphas go out, in batches on the device's threads.

It owns the model's batcher, and knows which requests still need it, so that it is unloaded when nobody does. The
squares of one photo (its mirrored view, its tiles) go through the batcher together: all of them, or none. Knows no
photo, no file and no HTTP.
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
    """What all models of a process share: the threads that run networks, and who watches and counts what they do."""

    threads: Executor
    steps: Steps
    metrics: Metrics
    settings: Settings


class Servable:
    """A warm model with its own batches. Made inside a running event loop."""

    def __init__(self, predictor: Predictor, device: DeviceContext) -> None:
        self.predictor = predictor
        self._device = device
        self._arriving = 0  # photos that are being decoded, and will be in the batcher's queue next
        self._users = 0
        self._left = asyncio.Event()
        settings, largest = device.settings, predictor.batch_sizes[-1]
        self._batcher: Batcher[Image, Alpha] = Batcher(
            self._run_batch,
            max_size=min(settings.max_batch_size or largest, largest),
            max_wait_s=settings.batch_wait_ms / 1000,
            max_queue=settings.max_queue * VIEWS_MAX,
            lanes=predictor.lanes,
            on_the_way=lambda: self._arriving,
        )

    @property
    def manifest(self) -> Manifest:
        return self.predictor.manifest

    @property
    def alive(self) -> bool:
        """Whether what is begun now will be served."""
        return self._batcher.alive

    @property
    def depth(self) -> int:
        """Squares that wait for a batch."""
        return self._batcher.depth

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """It is not closed while anybody is inside."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._left.set()

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """A photo for this model is being decoded: a batch may wait for it."""

        def arrived() -> None:
            self._arriving -= 1
            self._batcher.look()

        self._arriving += 1
        try:
            yield
        finally:
            # After the tasks have put the squares into the queue: else a batch might leave without them.
            asyncio.get_running_loop().call_soon(arrived)

    def begin(self, squares: Sequence[Image]) -> list[asyncio.Task[Batched[Alpha]]]:
        """The views of one photo on their way; `all_of` waits for them."""
        return begin(self._batcher, squares)

    def flush(self) -> None:
        """From now on no batch waits for company. Safe to call from a signal handler."""
        self._batcher.flush()

    async def unload(self) -> None:
        """Wait until nobody uses it any more, and close it."""
        while self._users:
            self._left.clear()
            await self._left.wait()
        await self.close()

    async def close(self) -> None:
        """Whoever still waits gets NotReady."""
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


def begin(batcher: Batcher[In, Out], views: Sequence[In]) -> list[asyncio.Task[Batched[Out]]]:
    """Each view on its way, in the order given."""
    return [asyncio.create_task(_through(batcher, view)) for view in views]


async def all_of(waiting: Sequence[asyncio.Task[Batched[Out]]]) -> list[Batched[Out]]:
    """Each view's output; when one fails, the others are withdrawn."""
    try:
        return list(await asyncio.gather(*waiting))
    finally:
        for each in waiting:
            each.cancel()


async def _through(batcher: Batcher[In, Out], view: In) -> Batched[Out]:
    since = time.perf_counter()
    batched = await batcher.submit(view)
    begun = since + batched.queue_s
    timing.record("queue", since, begun)
    timing.record("infer", begun, begun + batched.run_s, pictures=batched.size)
    return batched
