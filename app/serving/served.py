"""One model in service: squares of photos come in, their alphas go out, in batches on the device's threads.

It owns the model's batcher, and knows who still needs it, so that it can be let go without anybody noticing. Knows no
photo, no file and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from app import views
from app.batching import Batched, Batcher
from app.errors import InferenceFailed
from app.headroom import memory_errors
from app.metrics import Metrics
from app.predictor import Predictor
from app.settings import Settings
from app.watchdog import Steps
from model.contract import Manifest
from model.matting import VIEWS_MAX
from model.transforms import Alpha, Image


@dataclass(frozen=True, slots=True)
class Device:
    """What all models of a process share: the threads that run networks, and who watches and counts what they do."""

    threads: Executor
    steps: Steps
    metrics: Metrics
    settings: Settings


class Served:
    """A warm model with its own batches. Made inside a running event loop."""

    def __init__(self, predictor: Predictor, device: Device) -> None:
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
        """The views of one photo on their way; `app.views.all_of` waits for them."""
        return views.begin(self._batcher, squares)

    def hurry(self) -> None:
        """From now on no batch waits for company. Safe to call from a signal handler."""
        self._batcher.hurry()

    async def let_go(self) -> None:
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
