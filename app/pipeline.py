"""The bytes of one photo come in, the file of its matte or cutout goes out: `recipe` with its waits. Knows no HTTP.

    prepare (CPU pool)                await batch (device threads)    finish (CPU pool)
    decode, upright, RGB, square  ->  many pictures, one call     ->  alpha to photo size, refined; composed; file

It owns what that takes: the pool, the device threads, the batcher and, once loaded, the model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np

from app.batching import Batched, Batcher
from app.budget import Budget
from app.errors import NotReady
from app.metrics import Metrics
from app.output import Output
from app.predictor import Predictor
from app.recipe import Finished, Prepared, count_pixels, finish, prepare
from app.settings import Settings
from model.matting import VIEWS_MAX, Quality
from model.transforms import Alpha, Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a photo, and the seconds of each stage of its way by name; `queue` and `infer` are waits."""

    finished: Finished
    seconds: Mapping[str, float]


class Pipeline:
    """All photos of one process. `start` once, `run` for each photo, `close` once."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        # One picture, one thread: with many pictures at once, OpenCV's own threads would only get in the way.
        cv2.setNumThreads(1)
        self._settings = settings
        self._metrics = metrics
        self._cpu = ThreadPoolExecutor(settings.cpu_thread_count, "cpu")
        self._device = ThreadPoolExecutor(settings.lanes or settings.core_count, "device")
        self._predictor: Predictor | None = None
        self._batcher: Batcher[Image, Alpha] | None = None
        self._draining = False
        self._inside = 0
        self._left = asyncio.Event()
        self._budget = Budget(settings.max_decoded_bytes)
        self._arriving = 0  # photos that are being decoded, and will be in the batcher's queue next
        metrics.queue_depth.set_function(self._queue_depth)

    async def start(self, load: Callable[[], Predictor]) -> None:
        """Load and warm the model on the device thread, then take photos. Raises what `load` raises."""
        predictor = await asyncio.get_running_loop().run_in_executor(self._device, load)
        manifest = predictor.manifest
        self._metrics.model.info(
            {
                "name": manifest.name,
                "version": manifest.version,
                "device": predictor.device,
                "precision": predictor.precision,
                "sha256": manifest.sha256,
            }
        )
        self._predictor = predictor
        self._batcher = Batcher(
            self._run_batch,
            max_size=self._settings.max_batch_size or predictor.batch_sizes[-1],
            max_wait_s=self._settings.batch_wait_ms / 1000,
            max_queue=self._settings.max_queue * VIEWS_MAX,
            lanes=predictor.lanes,
            on_the_way=lambda: self._arriving,
        )

    @property
    def predictor(self) -> Predictor:
        """The loaded model. Raises NotReady before that."""
        if self._predictor is None:
            raise NotReady("The model is still loading.")
        return self._predictor

    def check_ready(self) -> None:
        """Raise NotReady unless a photo that comes now would be served."""
        if self._draining:
            raise NotReady("The service is shutting down.")
        if self._batcher is None:
            raise NotReady("The model is still loading.")
        if not self._batcher.alive:
            raise NotReady("The device loop has ended; the service must be restarted.")

    def drain(self) -> None:
        """Take no new photos; those inside are finished. Safe to call from a signal handler."""
        self._draining = True
        if self._batcher is not None:
            self._batcher.hurry()

    async def run(self, data: bytes, output: Output, quality: Quality = Quality.STANDARD) -> Result:
        """One photo, all the way. Raises ServiceErrors."""
        batcher = self._batcher
        if batcher is None:
            raise NotReady("The model is still loading.")
        manifest = self.predictor.manifest
        with self._one_inside():
            pixels = await self._count_pixels(data, output)
            async with self._budget.reserve(pixels * output.bytes_per_pixel) as waited_s:
                if not batcher.alive:
                    raise NotReady("The service shut down before this picture was done.")
                prepared, decode_s, waiting = await self._prepare(batcher, data, output, quality)
                batched = await _all_of(waiting)
                queue_s = waited_s + max(each.queue_s for each in batched)
                self._metrics.queue_wait_seconds.observe(queue_s)
                work = partial(finish, prepared, [each.output for each in batched], output, manifest)
                finished, _ = await self._on_cpu(work)
        self._metrics.observe(finished)
        infer_s = max(each.run_s for each in batched)
        return Result(finished, {"decode": decode_s, "queue": queue_s, "infer": infer_s, **finished.seconds})

    async def close(self) -> None:
        """Finish what is inside, for as long as the drain deadline allows, and let the threads go."""
        self.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000):
                while self._inside:
                    self._left.clear()
                    await self._left.wait()
        if self._batcher is not None:
            await self._batcher.close(0)
        self._cpu.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    def _queue_depth(self) -> int:
        return self._budget.waiting + (self._batcher.depth if self._batcher else 0)

    async def _count_pixels(self, data: bytes, output: Output) -> int:
        count = partial(count_pixels, data, output, max_pixels=self._settings.max_pixels)
        return await asyncio.get_running_loop().run_in_executor(self._cpu, count)

    async def _prepare(
        self, batcher: Batcher[Image, Alpha], data: bytes, output: Output, quality: Quality
    ) -> tuple[Prepared, float, list[asyncio.Task[Batched[Alpha]]]]:
        """The decoded photo, seconds of work, and its views on their way through the batcher."""
        manifest, limit = self.predictor.manifest, self._settings.max_pixels

        def arrived() -> None:
            self._arriving -= 1
            batcher.look()

        self._arriving += 1
        try:
            size, geometry = manifest.input_size, manifest.geometry
            work = partial(prepare, data, output, size, geometry, quality, max_pixels=limit)
            prepared, decode_s = await self._on_cpu(work)
            self._metrics.stage_seconds.labels("decode").observe(decode_s)
            return prepared, decode_s, [asyncio.create_task(batcher.submit(view)) for view in prepared.views]
        finally:
            # After the tasks have put the views into the queue: else a batch might leave without them.
            asyncio.get_running_loop().call_soon(arrived)

    @contextmanager
    def _one_inside(self) -> Iterator[None]:
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.set()

    async def _run_batch(self, squares: Sequence[Image]) -> list[Alpha]:
        predictor = self.predictor
        self._metrics.batch_size.observe(len(squares))
        self._metrics.batch_padding.observe(predictor.padded_size(len(squares)) - len(squares))
        with self._metrics.stage_seconds.labels("infer").time():
            alphas = await asyncio.get_running_loop().run_in_executor(
                self._device, lambda: predictor.predict(np.stack(squares))
            )
        return list(alphas)

    async def _on_cpu(self, work: Callable[[], T]) -> tuple[T, float]:
        """(result, seconds of work without the wait for a thread)."""

        def timed() -> tuple[T, float]:
            started = time.perf_counter()
            result = work()
            return result, time.perf_counter() - started

        return await asyncio.get_running_loop().run_in_executor(self._cpu, timed)


async def _all_of(waiting: Sequence[asyncio.Task[Batched[Alpha]]]) -> list[Batched[Alpha]]:
    """Each view's alpha; when one fails, the others are withdrawn."""
    try:
        return list(await asyncio.gather(*waiting))
    finally:
        for each in waiting:
            each.cancel()
