"""The bytes of one photo come in, the PNG of its matte or cutout goes out. The whole recipe; knows no HTTP.

    prepare (CPU pool)                await batch (device thread)     finish (CPU pool)
    decode, upright, RGB, square  ->  many pictures, one call     ->  alpha to photo size, edge refined, 8 bits, PNG

It owns what that takes: the pool, the device thread, the batcher and, once loaded, the model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import cv2
import numpy as np

from app import codec, cutout
from app.batching import Batched, Batcher
from app.errors import NotReady
from app.metrics import Metrics
from app.predictor import Predictor
from app.settings import Settings
from model import matting
from model.matting import VIEWS_MAX, Matte, Quality
from model.transforms import Alpha, Image

T = TypeVar("T")


class Output(StrEnum):
    """What becomes of the alpha: a grey picture, or the photo's alpha channel."""

    MATTE = "matte"
    CUTOUT = "cutout"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo uint8 `[H,W,3]` and the squares uint8 `[S,S,3]` that the network is to see of it."""

    image: Image
    views: list[Image]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one photo's way: work on the CPU, wait for its batch, the batch's run, work on the CPU."""

    decode_s: float
    queue_s: float
    infer_s: float
    refine_s: float
    encode_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished PNG of `height` x `width` pixels, and what `model.matting.Matte` says of it."""

    png: bytes
    height: int
    width: int
    confidence: float
    foreground: bool
    timings: Timings

    @property
    def found(self) -> str:
        """What is in the photo, in the one word that the header and the metrics use."""
        return "person" if self.foreground else "none"


def prepare(data: bytes, size: int, geometry: str, quality: Quality, *, max_pixels: int) -> Prepared:
    """Decode and lay into the network's square of `size` pixels. Raises codec's ClientErrors."""
    image = codec.decode_image(data, max_pixels=max_pixels)
    return Prepared(image, matting.views(image, size, geometry, quality))


def encode(image: Image, matte: Matte, output: Output) -> bytes:
    """The PNG of the photo's size: grey, or the photo with the matte as its alpha channel."""
    if output is Output.MATTE:
        return codec.encode_png(cutout.to_uint8(matte.alpha))
    return codec.encode_png(cutout.compose_rgba(image, matte.alpha))


class Pipeline:
    """All photos of one process. `start` once, `run` for each photo, `close` once."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        # One picture, one thread: with many pictures at once, OpenCV's own threads would only get in the way.
        cv2.setNumThreads(1)
        self._settings = settings
        self._metrics = metrics
        self._cpu = ThreadPoolExecutor(settings.cpu_thread_count, "cpu")
        self._device = ThreadPoolExecutor(1, "device")
        self._predictor: Predictor | None = None
        self._batcher: Batcher[Image, Alpha] | None = None
        self._draining = False
        self._inside = 0
        self._left = asyncio.Event()
        # Decoded photos are kept until their matte is done, and are many times larger than their files: only as many
        # are decoded as keep the device and the pool busy. The others wait as files.
        self._decoded = asyncio.Semaphore(2 * settings.max_batch_size + settings.cpu_thread_count)
        self._waiting_as_files = 0
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
            max_size=self._settings.max_batch_size,
            max_wait_s=self._settings.batch_wait_ms / 1000,
            max_queue=self._settings.max_queue * VIEWS_MAX,
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
        manifest, limit = self.predictor.manifest, self._settings.max_pixels
        size, geometry = manifest.input_size, manifest.geometry
        with self._one_inside():
            async with self._place_among_decoded() as waited_s:
                if not batcher.alive:
                    raise NotReady("The service shut down before this picture was done.")
                prepared, decode_s = await self._on_cpu(
                    "decode", lambda: prepare(data, size, geometry, quality, max_pixels=limit)
                )
                image = prepared.image
                batched = await self._through_batches(batcher, prepared.views)
                queue_s = waited_s + max(each.queue_s for each in batched)
                self._metrics.queue_wait_seconds.observe(queue_s)
                alphas = [each.output for each in batched]
                matte, refine_s = await self._on_cpu(
                    "refine",
                    lambda: matting.finish(
                        image, prepared.views, alphas, geometry, sharpness=manifest.sharpness
                    ),
                )
                png, encode_s = await self._on_cpu("encode", lambda: encode(image, matte, output))
        infer_s = max(each.run_s for each in batched)
        timings = Timings(decode_s, queue_s, infer_s, refine_s, encode_s)
        height, width = matte.alpha.shape
        result = Result(png, height, width, matte.confidence, matte.foreground, timings)
        self._metrics.observe_matte(result.confidence, result.found)
        return result

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
        return self._waiting_as_files + (self._batcher.depth if self._batcher else 0)

    @asynccontextmanager
    async def _place_among_decoded(self) -> AsyncIterator[float]:
        """Seconds that the photo waited as a file for a place."""
        started = time.perf_counter()
        self._waiting_as_files += 1
        try:
            await self._decoded.acquire()
        finally:
            self._waiting_as_files -= 1
        try:
            yield time.perf_counter() - started
        finally:
            self._decoded.release()

    @staticmethod
    async def _through_batches(
        batcher: Batcher[Image, Alpha], views: Sequence[Image]
    ) -> list[Batched[Alpha]]:
        """Each view's alpha; when one fails, the others are withdrawn."""
        waiting = [asyncio.ensure_future(batcher.submit(view)) for view in views]
        try:
            return list(await asyncio.gather(*waiting))
        finally:
            for each in waiting:
                each.cancel()

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

    async def _on_cpu(self, stage: str, work: Callable[[], T]) -> tuple[T, float]:
        """(result, seconds of work without the wait for a thread)."""

        def timed() -> tuple[T, float]:
            started = time.perf_counter()
            result = work()
            return result, time.perf_counter() - started

        result, seconds = await asyncio.get_running_loop().run_in_executor(self._cpu, timed)
        self._metrics.stage_seconds.labels(stage).observe(seconds)
        return result, seconds
