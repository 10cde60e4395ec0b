"""One model in service: squares of photos in, their alphas out, in batches.

Owns the model's batcher, and counts the requests that use the model, so that it is unloaded after the last one. The
squares of one photo (its mirrored copy, its tiles) are submitted together: all succeed, or none. The batches run on
the device's threads (`on_device`), or in an inference process (`app.inference.remote`). Knows no photos, no files and
no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import numpy as np

from app.concurrency.executor import lower_priority
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

STUCK_BATCH: Final = "A batch has been running"
"""What hangs if a batch does, for the watchdog."""


def device_threads(settings: Settings) -> ThreadPoolExecutor:
    """The threads that run the networks of a process."""
    return ThreadPoolExecutor(settings.lanes or settings.core_count, "device", lower_priority)


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What all models of a process share: the threads that run networks, the watchdog's steps, metrics and
    settings. `front_ends`: how many processes submit squares, each within the settings' limits."""

    threads: Executor
    steps: Steps
    metrics: Metrics
    settings: Settings
    front_ends: int = 1


class LoadedModel(Protocol):
    """A model that is ready to run, here or in another process: what answers and metrics say of it."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def device(self) -> str: ...
    @property
    def runtime(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def batch_sizes(self) -> tuple[int, ...]: ...
    @property
    def batch_limit(self) -> int: ...
    @property
    def lanes(self) -> int: ...


class SquareBatcher(Protocol):
    """Gets squares uint8 `[S,S,3]`, gives alphas float32 `[S,S]`: a `Batcher`, or one in another process."""

    @property
    def fault(self) -> str: ...
    @property
    def depth(self) -> int: ...
    async def submit(self, item: Image, /) -> Batched[Alpha]: ...
    def notify(self) -> None: ...
    def flush(self) -> None: ...
    async def close(self, timeout_s: float, /) -> None: ...


class Servable:
    """A warm model with its own batcher, which `start_batcher` makes; it gets a function that tells how many photos
    are being decoded, whose squares come next. Create it inside a running event loop."""

    def __init__(
        self, model: LoadedModel, start_batcher: Callable[[Callable[[], int]], SquareBatcher]
    ) -> None:
        self.model = model
        self._arriving = 0  # photos being decoded, whose squares will be submitted next
        self._users = 0
        self._released = asyncio.Event()
        self._batcher = start_batcher(lambda: self._arriving)

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest

    @property
    def alive(self) -> bool:
        """Whether squares that are submitted now will be served."""
        return not self.fault

    @property
    def fault(self) -> str:
        """Why squares that are submitted now will not be served, in a sentence; empty if they will."""
        return self._batcher.fault

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

        self.expect(1)
        try:
            yield
        finally:
            # After the tasks have queued the squares: otherwise a batch might start without them.
            asyncio.get_running_loop().call_soon(self.expect, -1)

    def expect(self, more: int) -> None:
        """So many more photos for this model are being decoded."""
        self._arriving += more
        self._batcher.notify()

    def submit_squares(self, squares: Sequence[Image]) -> list[asyncio.Task[Batched[Alpha]]]:
        """Submit the squares of one photo; await the tasks with `gather`."""
        return submit_all(self._batcher.submit, squares)

    async def submit(self, square: Image) -> Batched[Alpha]:
        """The alpha float32 `[S,S]` of a square uint8 `[S,S,3]`. Raises ServiceErrors."""
        return await self._batcher.submit(square)

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


def on_device(predictor: Predictor, device: DeviceContext) -> Servable:
    """A model that runs on the threads of this process. Call it inside a running event loop."""
    settings, largest = device.settings, predictor.batch_sizes[-1]

    def start_batcher(expected: Callable[[], int]) -> Batcher[Image, Alpha]:
        return Batcher(
            partial(_run_batch, predictor, device),
            max_size=min(settings.max_batch_size or largest, largest),
            max_wait_s=settings.batch_wait_ms / 1000,
            max_queue=settings.max_queue * VIEWS_MAX * device.front_ends,
            lanes=predictor.lanes,
            expected=expected,
        )

    return Servable(predictor, start_batcher)


async def _run_batch(
    predictor: Predictor, device: DeviceContext, squares: Sequence[Image]
) -> list[Alpha | InferenceFailed]:
    metrics = device.metrics
    metrics.batch_size.observe(len(squares))
    metrics.batch_padding.observe(predictor.padded_size(len(squares)) - len(squares))

    def predict() -> list[Alpha | InferenceFailed]:
        with device.steps.step():
            return predictor.predict_each(np.stack(squares))

    with (
        metrics.stage_seconds.labels("infer").time(),
        memory_errors(metrics.out_of_memory.labels("batch").inc),
    ):
        return await asyncio.get_running_loop().run_in_executor(device.threads, predict)


In = TypeVar("In")
Out = TypeVar("Out")


def submit_all(
    submit: Callable[[In], Awaitable[Batched[Out]]], items: Sequence[In]
) -> list[asyncio.Task[Batched[Out]]]:
    """Submit each item, in the order given; return a task for each."""
    return [asyncio.create_task(_submit_one(submit, item)) for item in items]


async def gather(waiting: Sequence[asyncio.Task[Batched[Out]]]) -> list[Batched[Out]]:
    """The output of each task; if one fails, the others are cancelled."""
    try:
        return list(await asyncio.gather(*waiting))
    finally:
        for each in waiting:
            each.cancel()


async def _submit_one(submit: Callable[[In], Awaitable[Batched[Out]]], item: In) -> Batched[Out]:
    since = time.perf_counter()
    batched = await submit(item)
    started = since + batched.queue_s
    timing.record("queue", since, started)
    timing.record("infer", started, started + batched.run_s, pictures=batched.size)
    return batched
