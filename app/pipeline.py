"""The bytes of one photo come in, the PNG of its matte or cutout goes out. The whole recipe; knows no HTTP.

    prepare (CPU pool)                await batch (device thread)     finish (CPU pool)
    decode, upright, RGB, square  ->  many pictures, one call     ->  alpha to photo size, 8 bits, PNG

It owns what that takes: the pool, the device thread, the batcher and, once loaded, the model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from model import transforms
from model.transforms import Alpha, Image

T = TypeVar("T")


class Output(StrEnum):
    """What becomes of the alpha: a grey picture, or the photo's alpha channel."""

    MATTE = "matte"
    CUTOUT = "cutout"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo: the network's square uint8 `[S,S,3]`, the photo's size, its pixels if still needed."""

    square: Image
    height: int
    width: int
    image: Image | None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one photo's way: work on the CPU, wait for its batch, the batch's run, work on the CPU."""

    decode_s: float
    queue_s: float
    infer_s: float
    encode_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished PNG of `height` x `width` pixels."""

    png: bytes
    height: int
    width: int
    timings: Timings


def prepare(data: bytes, size: int, output: Output, *, max_pixels: int) -> Prepared:
    """Decode and shrink to the network's square of `size` pixels. Raises codec's ClientErrors.

    A matte does not need the photo again, so its pixels are not kept while it waits.
    """
    image = codec.decode_image(data, max_pixels=max_pixels)
    square = transforms.to_model_input(image, size)
    kept = image if output is Output.CUTOUT else None
    return Prepared(square, image.shape[0], image.shape[1], kept)


def finish(prepared: Prepared, alpha: Alpha) -> bytes:
    """Alpha float32 `[S,S]` to the PNG of the photo's size: RGBA if it was kept, else the matte."""
    full = transforms.to_image_size(alpha, prepared.height, prepared.width)
    if prepared.image is None:
        return codec.encode_png(cutout.to_uint8(full))
    return codec.encode_png(cutout.compose_rgba(prepared.image, full))


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
        metrics.queue_depth.set_function(lambda: self._batcher.depth if self._batcher else 0)

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
            max_queue=self._settings.max_queue,
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

    async def run(self, data: bytes, output: Output) -> Result:
        """One photo, all the way. Raises ServiceErrors."""
        if self._batcher is None:
            raise NotReady("The model is still loading.")
        size, limit = self.predictor.input_size, self._settings.max_pixels
        with self._one_inside():
            prepared, decode_s = await self._on_cpu(
                "decode", lambda: prepare(data, size, output, max_pixels=limit)
            )
            batched: Batched[Alpha] = await self._batcher.submit(prepared.square)
            self._metrics.queue_wait_seconds.observe(batched.queue_s)
            png, encode_s = await self._on_cpu("encode", lambda: finish(prepared, batched.output))
        timings = Timings(decode_s, batched.queue_s, batched.run_s, encode_s)
        return Result(png, prepared.height, prepared.width, timings)

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
