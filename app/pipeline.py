"""One photo from its bytes to the file of its matte or cut-out. Knows no HTTP.

    prepare (CPU pool)                await batch (device threads)    finish (CPU pool)
    decode, upright, RGB, square  ->  many pictures, one call     ->  alpha to photo size, refined; composed; file

`Pipeline` owns what that takes: the pool, the device threads and, once loaded, the models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2

from app.concurrency.executor import ContextThreadPool, lower_priority
from app.concurrency.in_flight import InFlight
from app.concurrency.memory_budget import MemoryBudget
from app.concurrency.watchdog import Watchdog
from app.errors import ClientError, NotReady
from app.imaging import decode, encode
from app.imaging.crop import Box
from app.imaging.output import Output
from app.imaging.render import render
from app.inference import servable as views
from app.inference.batcher import Batched
from app.inference.predictor import LARGEST_ON_CPU, LARGEST_ON_CUDA, Predictor, memory_errors
from app.inference.registry import ModelRegistry, Source
from app.inference.servable import DeviceContext, Servable
from app.inference.shadow_traffic import Comparison, ShadowTraffic, views_for
from app.observability import timing
from app.observability.metrics import Metrics
from app.settings import Settings
from model import matting
from model.contract import Manifest
from model.transforms import Alpha, Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a photo, the seconds of each stage of its way by name (`queue` and `infer` are waits), and the
    `name@version` of the model that did it."""

    finished: Finished
    seconds: Mapping[str, float]
    model: str


class Pipeline:
    """All photos of one process. `start` once, `run` for each photo, `close` once."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        # One picture, one thread: with many pictures at once, OpenCV's own threads would only get in the way.
        cv2.setNumThreads(1)
        self._settings = settings
        self._metrics = metrics
        self._cpu = ContextThreadPool(settings.cpu_thread_count, "cpu", metrics.cpu_wait_seconds.observe)
        self._device = ThreadPoolExecutor(settings.lanes or settings.core_count, "device", lower_priority)
        self._models: ModelRegistry | None = None
        self._watchdog = Watchdog(settings.stuck_after_ms / 1000)
        # What a batch takes does not depend on the photos: one that hangs is a fault. A photo's steps take what its
        # client's bytes make them take: one that is slow must not stop the others, as long as any thread is left.
        self._batches = self._watchdog.pool("A batch has been running", 1)
        self._photos = self._watchdog.pool(
            "All threads that decode and encode have been at the same photos", settings.cpu_thread_count
        )
        self._draining = False
        self._in_flight = InFlight(lambda: self._watchdog.now_s)
        self._budget = MemoryBudget(settings.max_decoded_bytes)
        self._shadow = ShadowTraffic(settings.shadow_share, metrics)
        metrics.queue_depth.set_function(self._queue_depth)
        metrics.cpu_queue_depth.set_function(lambda: self._cpu.waiting)
        metrics.decoded_bytes.set_function(lambda: self._budget.taken)
        metrics.decoded_bytes_limit.set(settings.max_decoded_bytes)
        for step, steps in (("batch", self._batches), ("photo", self._photos)):
            metrics.oldest_step_seconds.labels(step).set_function(partial(self._watchdog.oldest_s, steps))

    async def start(self, source: Source) -> None:
        """Load and warm the models, then take photos. Raises ContractError or LoadError."""
        self._loop = asyncio.get_running_loop()
        models = ModelRegistry(
            source, DeviceContext(self._device, self._batches, self._metrics, self._settings)
        )
        await models.start()
        self._watchdog.start(self._metrics.stuck.inc, self._give_up_late)
        self._metrics.batch_limit.set_function(lambda: models.default.predictor.backoff.limit)
        self._budget.most = self._most_at_once(models.default.predictor)
        self._models = models

    @property
    def models(self) -> ModelRegistry:
        """Those in service. Raises NotReady before they are loaded."""
        if self._models is None:
            raise NotReady("The model is still loading.")
        return self._models

    def check_ready(self) -> None:
        """Raise NotReady unless a photo that comes now would be served."""
        if self._draining:
            raise NotReady("The service is shutting down.")
        if not self.models.alive:
            raise NotReady("The device loop has ended; the service must be restarted.")
        if stuck := self._watchdog.stuck:
            raise NotReady(f"{stuck} No new photos are taken meanwhile.")

    @property
    def busy(self) -> bool:
        """Whether a thread is still at work. It cannot be ended, and Python would wait for it before it exits."""
        return not self._watchdog.idle

    def drain(self) -> None:
        """Take no new photos; those inside are finished, as far as the drain deadline allows. Safe to call from a
        signal handler."""
        begun, self._draining = self._draining, True
        if self._models is not None and not begun:
            self._models.flush()
            self._loop.call_soon_threadsafe(self._limit_draining)

    def _limit_draining(self) -> None:
        """Whoever is given up gets an answer: the server has none for the requests that it cancels a little later."""
        give_up = partial(
            self._in_flight.abort_older_than, 0, "The service shut down before this picture was done."
        )
        self._loop.call_later(self._settings.drain_timeout_ms / 1000, give_up)

    async def run(self, data: bytes, output: Output, *, client: str = "") -> Result:
        """One photo, all the way; photos of different clients take turns. Raises ServiceErrors."""
        with self.models.use(output.model) as servable, self._in_flight.track():
            pixels = await self._count_pixels(data, output)
            self._metrics.photo_megapixels.observe(pixels / 1e6)
            async with self._budget.reserve(pixels * output.bytes_per_pixel, client) as waited_s:
                if not servable.alive:
                    raise NotReady("The service shut down before this picture was done.")
                timing.record("budget", (now := time.perf_counter()) - waited_s, now)
                prepared, decode_s, waiting = await self._prepare(servable, data, output)
                batched = await views.all_of(waiting)
                queue_s = waited_s + max(each.queue_s for each in batched)
                self._metrics.queue_wait_seconds.observe(queue_s)
                alphas = [each.output for each in batched]
                work = partial(finish, prepared, alphas, output, servable.manifest)
                finished, _ = await self._on_cpu(work)
                self._show_candidate(prepared, alphas, output, servable)
        self._metrics.observe_photo(finished.found, finished.confidence, finished.seconds)
        infer_s = max(each.run_s for each in batched)
        seconds = {"decode": decode_s, "queue": queue_s, "infer": infer_s, **finished.seconds}
        return Result(finished, seconds, servable.manifest.label)

    async def close(self) -> None:
        """Finish what is inside, for as long as the drain deadline allows, and let the threads go."""
        self.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000):
                await self._in_flight.drained()
        if self._models is not None:
            await self._models.close()
        self._watchdog.stop()
        self._cpu.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    def _most_at_once(self, predictor: Predictor) -> int:
        """Photos that are decoded: enough for full batches in every lane, as many ready to follow, and one for each
        thread. More would only wait in memory, and in order of arrival instead of in turns."""
        return 2 * predictor.lanes * predictor.batch_sizes[-1] + self._settings.cpu_thread_count

    def _queue_depth(self) -> int:
        return self._budget.waiting + (self._models.depth if self._models else 0)

    async def _count_pixels(self, data: bytes, output: Output) -> int:
        count = partial(count_pixels, data, output, max_pixels=self._settings.max_pixels)
        return (await self._on_cpu(count))[0]

    async def _prepare(
        self, servable: Servable, data: bytes, output: Output
    ) -> tuple[Prepared, float, list[asyncio.Task[Batched[Alpha]]]]:
        """The decoded photo, seconds of work, and its views on their way through the batcher."""
        manifest, limit = servable.manifest, self._settings.max_pixels
        with servable.arriving():
            size, geometry = manifest.input_size, manifest.geometry
            work = partial(prepare, data, output, size, geometry, max_pixels=limit)
            prepared, decode_s = await self._on_cpu(work)
            self._metrics.stage_seconds.labels("decode").observe(decode_s)
            return prepared, decode_s, servable.begin(prepared.views)

    def _show_candidate(
        self, prepared: Prepared, alphas: Sequence[Alpha], output: Output, servable: Servable
    ) -> None:
        """If there is one and it is this photo's turn. Nobody waits for what it finds."""
        candidate = self.models.shadow
        if candidate is None or not self._shadow.takes_next():
            return

        async def see() -> list[Image]:
            work = partial(views_for, candidate.manifest, prepared.image, prepared.size, output.quality)
            return (await self._on_cpu(work))[0]

        self._shadow.compare(Comparison(candidate, see, prepared.size, alphas, servable.manifest))

    def _give_up_late(self) -> None:
        """Something is stuck: those who have waited as long as it has do not wait any longer."""
        if stuck := self._watchdog.stuck:
            self._in_flight.abort_older_than(
                self._watchdog.stuck_after_s, f"{stuck} This picture has waited for too long."
            )

    async def _on_cpu(self, work: Callable[[], T]) -> tuple[T, float]:
        """(result, seconds of work without the wait for a thread)."""

        def timed() -> tuple[T, float]:
            started = time.perf_counter()
            with self._photos.step():
                result = work()
            return result, time.perf_counter() - started

        with memory_errors(self._metrics.out_of_memory.labels("photo").inc):
            return await asyncio.get_running_loop().run_in_executor(self._cpu, timed)


def busy_photos(settings: Settings, *, on_gpu: bool) -> int:
    """Photos that keep a pipeline busy: a batch, and two for each thread that decodes and finishes."""
    batch = settings.max_batch_size or (LARGEST_ON_CUDA if on_gpu else LARGEST_ON_CPU)
    return min(settings.max_queue, batch + 2 * settings.cpu_thread_count)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo uint8 `[H,W,3]` or smaller, its own height and width, the squares uint8 `[S,S,3]` that the
    network is to see of it, and the decoded background, if a picture is one."""

    image: Image
    size: tuple[int, int]
    views: list[Image]
    picture: Image | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished file of a picture of `height` x `width` pixels, where the person is in it (None: nobody is), what
    `model.matting.Matte` says of it, and the seconds of each stage of `finish` by its name."""

    data: bytes
    media_type: str
    height: int
    width: int
    person: Box | None
    confidence: float
    foreground: bool
    seconds: Mapping[str, float]

    @property
    def found(self) -> str:
        """What is in the photo, in the one word that the header and the metrics use."""
        return "person" if self.foreground else "none"


def count_pixels(data: bytes, output: Output, *, max_pixels: int) -> int:
    """Of the photo and of the background's picture, by their headers. Raises codec's ClientErrors."""
    pixels = decode.count_pixels(data, max_pixels=max_pixels)
    ground = output.background
    if isinstance(ground, bytes):
        pixels += _of_background(lambda: decode.count_pixels(ground, max_pixels=max_pixels))
    return pixels


def prepare(data: bytes, output: Output, size: int, geometry: str, *, max_pixels: int) -> Prepared:
    """Decode and lay into the network's square of `size` pixels. Raises codec's ClientErrors."""

    watch = _Stopwatch()

    def reduction(height: int, width: int) -> int:
        # A matte holds no colours, so a photo whose edges are followed at half its size is decoded at that.
        return matting.reduction(height, width, size, output.quality) if output.is_matte else 1

    image, own_size = decode.decode_reduced(data, max_pixels=max_pixels, reduction=reduction)
    ground, picture = output.background, None
    if isinstance(ground, bytes):
        picture = _of_background(lambda: decode.decode_image(ground, max_pixels=max_pixels))
    views = matting.views(image, size, geometry, output.quality, photo_size=own_size)
    watch.lap("decode")
    return Prepared(image, own_size, views, picture)


def finish(prepared: Prepared, alphas: Sequence[Alpha], output: Output, manifest: Manifest) -> Finished:
    """From the network's alpha of each view to the file that is asked for; the whole photo's where nobody is found.

    Raises rendering's and encoding's ClientErrors.
    """
    watch = _Stopwatch()
    matte = matting.finish(
        prepared.image,
        prepared.views,
        alphas,
        manifest.geometry,
        sharpness=manifest.sharpness,
        photo_size=prepared.size,
    )
    watch.lap("refine")
    drawn = output if matte.foreground else output.model_copy(update={"crop": False, "placement": None})
    rendered = render(prepared.image, matte.alpha, drawn, prepared.picture)
    if not output.is_matte:
        watch.lap("compose")
    data = encode.encode(rendered.pixels, output.format)
    watch.lap("encode")
    height, width = rendered.pixels.shape[:2]
    kind = output.format.media_type
    person = rendered.person if matte.foreground else None
    return Finished(data, kind, height, width, person, matte.confidence, matte.foreground, watch.seconds)


def _of_background(work: Callable[[], T]) -> T:
    """So that its errors are not taken for the photo's."""
    try:
        return work()
    except ClientError as error:
        raise type(error)(f"Background: {error.detail}") from None


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        timing.record(stage, self._since, now)
        self.seconds[stage], self._since = now - self._since, now
