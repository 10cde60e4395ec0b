"""One photo from its bytes to the file of its matte or cut-out. Knows no HTTP.

    prepare (CPU pool)                await batch (device threads)    finish (CPU pool)
    decode, upright, RGB, square  ->  many pictures, one call     ->  alpha to photo size, refined; composed; file

`Pipeline` owns what that takes: the pool, the device threads and, once loaded, the models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import cv2

from app.concurrency.executor import ContextThreadPool
from app.concurrency.in_flight import InFlight
from app.concurrency.memory_budget import MemoryBudget
from app.concurrency.watchdog import Watchdog
from app.errors import NONE_TAKEN, SHUT_DOWN, WAITED_TOO_LONG, ClientError, NotReady
from app.imaging import colour, decode, encode
from app.imaging.crop import Box
from app.imaging.output import Output
from app.imaging.picture_file import Density
from app.imaging.render import render
from app.inference.batcher import Batched
from app.inference.predictor import LARGEST_ON_CPU, LARGEST_ON_CUDA, memory_errors
from app.inference.registry import ModelRegistry, ModelSource
from app.inference.servable import (
    STUCK_BATCH,
    DeviceContext,
    LoadedModel,
    Servable,
    device_threads,
    gather,
)
from app.inference.shadow_traffic import Comparison, ShadowTraffic, squares_for
from app.observability import timing
from app.observability.metrics import Metrics
from app.options import Colours, Subject
from app.settings import Settings
from app.values import Ground
from model import matting
from model.contract import Manifest
from model.matting import Matte
from model.quality import Quality
from model.transforms import Alpha, Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """A finished photo, the seconds of each stage of its way by name (`queue` and `infer` are waits), and the
    `name@version` of the model."""

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
        self._device = device_threads(settings)
        self._models: ModelRegistry | None = None
        self._watchdog = Watchdog(settings.stuck_after_ms / 1000)
        # What a batch takes does not depend on the photos: one that hangs is a fault. A photo's steps take what its
        # client's bytes make them take: one that is slow must not stop the others, as long as any thread is left.
        self._batches = self._watchdog.pool(STUCK_BATCH, 1)
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

    async def start(self, source: ModelSource) -> None:
        """Load and warm the models, then take photos. Raises ContractError or LoadError."""
        self._loop = asyncio.get_running_loop()
        models = ModelRegistry(
            source, DeviceContext(self._device, self._batches, self._metrics, self._settings)
        )
        await models.start()
        self._watchdog.start(self._metrics.stuck.inc, self._abort_late)
        self._metrics.batch_limit.set_function(lambda: models.default.model.batch_limit)
        self._budget.max_photos = self._most_at_once(models.default.model)
        self._models = models

    @property
    def models(self) -> ModelRegistry:
        """The models in service. Raises NotReady before they are loaded."""
        if self._models is None:
            raise NotReady("The model is still loading.")
        return self._models

    def check_ready(self) -> None:
        """Raise NotReady unless a photo that comes now would be served."""
        if self._draining:
            raise NotReady("The service is shutting down.")
        if fault := self.models.fault:
            raise NotReady(fault)
        if stuck := self._watchdog.stuck:
            raise NotReady(f"{stuck} {NONE_TAKEN}")

    @property
    def draining(self) -> bool:
        """Whether no new photos are taken, because the process is to end."""
        return self._draining

    @property
    def busy(self) -> bool:
        """Whether a thread is still at work. It cannot be ended, and Python would wait for it before it exits."""
        return not self._watchdog.idle

    def drain(self) -> None:
        """Take no new photos; those in flight are finished, as far as the drain deadline allows. Safe to call from a
        signal handler."""
        begun, self._draining = self._draining, True
        if self._models is not None and not begun:
            self._models.flush()
            self._loop.call_soon_threadsafe(self._limit_draining)

    def _limit_draining(self) -> None:
        """Abort what is still in flight then, with an answer: the server has none for requests that it cancels
        later."""
        abort = partial(self._in_flight.abort_older_than, 0, SHUT_DOWN)
        self._loop.call_later(self._settings.drain_timeout_ms / 1000, abort)

    async def run(self, data: bytes, output: Output, *, client: str = "") -> Result:
        """One photo, all the way; photos of different clients take turns. Raises ServiceErrors."""
        with (
            self.models.use(output.model) as servable,
            self._in_flight.track(),
            timing.collect(self._metrics.observe_stage) as stages,
        ):
            measured = await self._measure(data, output)
            self._metrics.photo_megapixels.observe(measured.pixels / 1e6)
            async with self._budget.reserve(measured.bytes, client) as waited_s:
                if not servable.alive:
                    raise NotReady(SHUT_DOWN)
                timing.record("budget", (now := time.perf_counter()) - waited_s, now)
                prepared, squares = await self._prepare(servable, data, output)
                alphas = [each.output for each in await gather(squares)]
                finished = await self.on_cpu(partial(finish, prepared, alphas, output, servable.manifest))
                seconds = timing.longest(stages)
                self._compare_with_candidate(prepared, alphas, output, servable)
        seconds["queue"] += seconds.pop("budget")
        self._metrics.observe_photo(finished.found, finished.confidence, seconds["queue"])
        return Result(finished, seconds, servable.manifest.label)

    async def matte(self, image: Image, quality: Quality) -> Matte:
        """The matte of pixels uint8 `[H,W,3]` in sRGB, the same as `run` gives for a file of them; the caller bounds
        how many are in memory. Raises ServiceErrors."""
        with self.models.use() as servable, self._in_flight.track():
            manifest = servable.manifest
            with servable.arriving():
                size, geometry = manifest.input_size, manifest.geometry
                views = await self.on_cpu(partial(matting.views, image, size, geometry, quality))
                squares = servable.submit_squares(views)
            alphas = [each.output for each in await gather(squares)]
            sharpness = manifest.sharpness
            work = partial(matting.finish, image, views, alphas, geometry, sharpness=sharpness)
            return await self.on_cpu(work)

    @property
    def photos_at_once(self) -> int:
        """How many photos keep the loaded model and all threads busy."""
        return self._budget.max_photos

    async def close(self) -> None:
        """Finish what is in flight, for as long as the drain deadline allows, and end the threads."""
        self.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_ms / 1000):
                await self._in_flight.drained()
        if self._models is not None:
            await self._models.close()
        self._watchdog.stop()
        self._cpu.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    def _most_at_once(self, model: LoadedModel) -> int:
        """Photos that are decoded: enough for full batches in every lane, as many ready to follow, and one for each
        thread. More would only wait in memory, and in order of arrival instead of in turns."""
        return 2 * model.lanes * model.batch_sizes[-1] + self._settings.cpu_thread_count

    def _queue_depth(self) -> int:
        return self._budget.waiting + (self._models.depth if self._models else 0)

    async def _measure(self, data: bytes, output: Output) -> Measured:
        limit, kinds = self._settings.max_pixels, self._settings.kinds
        return await self.on_cpu(partial(measure, data, output, max_pixels=limit, kinds=kinds))

    async def _prepare(
        self, servable: Servable, data: bytes, output: Output
    ) -> tuple[Prepared, list[asyncio.Task[Batched[Alpha]]]]:
        """The decoded photo, and its squares on their way through the batcher."""
        manifest, limit = servable.manifest, self._settings.max_pixels
        with servable.arriving():
            size, geometry = manifest.input_size, manifest.geometry
            work = partial(prepare, data, output, size, geometry, max_pixels=limit)
            prepared = await self.on_cpu(work)
            return prepared, servable.submit_squares(prepared.views)

    def _compare_with_candidate(
        self, prepared: Prepared, alphas: Sequence[Alpha], output: Output, servable: Servable
    ) -> None:
        """Compare with the candidate model, if there is one and it is this photo's turn. Nobody waits for it."""
        candidate = self.models.shadow
        if candidate is None or not self._shadow.should_sample():
            return

        def squares() -> list[Image]:
            own = squares_for(candidate.manifest, prepared.image, prepared.size, output.quality)
            return [colour.as_seen(square, prepared.profile) for square in own]

        async def see() -> list[Image]:
            return await self.on_cpu(squares)

        self._shadow.compare(Comparison(candidate, see, prepared.size, alphas, servable.manifest))

    def _abort_late(self) -> None:
        """Something is stuck: abort the photos that have waited as long as it has."""
        if stuck := self._watchdog.stuck:
            self._in_flight.abort_older_than(self._watchdog.stuck_after_s, f"{stuck} {WAITED_TOO_LONG}")

    async def on_cpu(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in the pool of threads, where the watchdog sees it. Raises OutOfMemory."""

        def watched() -> T:
            with self._photos.step():
                return work()

        with memory_errors(self._metrics.out_of_memory.labels("photo").inc):
            return await asyncio.get_running_loop().run_in_executor(self._cpu, watched)


def busy_photos(settings: Settings, *, on_gpu: bool) -> int:
    """Photos that keep a pipeline busy: a batch, and two for each thread that decodes and finishes."""
    batch = settings.max_batch_size or (LARGEST_ON_CUDA if on_gpu else LARGEST_ON_CPU)
    return min(settings.max_queue, batch + 2 * settings.cpu_thread_count)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo uint8 `[H,W,3]` or smaller, its own height and width, the squares uint8 `[S,S,3]` that the
    network is to see of it, and the decoded background, if a picture is one.

    `profile`: ICC, of the photo's colours and of the background's; None is sRGB, which the network sees in any case.
    `squares`: the views in the photo's own colours, where those are others.
    """

    image: Image
    size: tuple[int, int]
    views: list[Image]
    picture: Image | None
    profile: bytes | None = field(default=None, repr=False)
    squares: list[Image] | None = None
    density: Density | None = None
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished file of a picture of `height` x `width` pixels, where the person is in it (None: nobody is), and
    what `model.matting.Matte` says of it. `subjects` are those of the photo, also where only the main one is kept.
    `frames`: how many pictures the photo's file holds."""

    data: bytes
    media_type: str
    height: int
    width: int
    person: Box | None
    confidence: float
    foreground: bool
    subjects: int
    frames: int = 1

    @property
    def found(self) -> str:
        """What is in the photo, in the one word that the header and the metrics use."""
        return "person" if self.foreground else "none"


@dataclass(frozen=True, slots=True)
class Measured:
    """Pixels of a photo and its background, and the bytes of memory that they take while they are in flight."""

    pixels: int
    bytes: int


def measure(
    data: bytes, output: Output, *, max_pixels: int, kinds: Collection[str] = decode.KINDS
) -> Measured:
    """Measure the photo and the background's picture by their headers. `kinds`: the formats that are taken. Raises
    the decoder's ClientErrors."""
    headers = [decode.read_header(data, max_pixels=max_pixels, kinds=kinds)]
    ground = output.background
    if isinstance(ground, bytes):
        headers.append(_of_background(lambda: decode.read_header(ground, max_pixels=max_pixels, kinds=kinds)))
    each = output.bytes_per_pixel
    return Measured(
        sum(header.pixels for header in headers),
        sum(header.pixels * max(each, header.decoder_bytes) for header in headers),
    )


def prepare(data: bytes, output: Output, size: int, geometry: str, *, max_pixels: int) -> Prepared:
    """Decode and lay into the network's square of `size` pixels. Raises the decoder's ClientErrors."""

    def reduction(height: int, width: int) -> int:
        # A matte holds no colours, so a photo whose edges are followed at half its size is decoded at that.
        return matting.reduction(height, width, size, output.quality) if output.is_matte else 1

    with timing.stage("decode"):
        photo = decode.decode_photo(data, max_pixels=max_pixels, reduction=reduction)
        image, profile = photo.image, photo.profile
        if output.color is Colours.SRGB:
            image, profile = colour.converted(image, profile), None
        ground, picture = output.background, None
        if isinstance(ground, bytes):
            under = _of_background(lambda: decode.decode_photo(ground, max_pixels=max_pixels))
            picture = colour.converted(under.image, under.profile, profile)
        squares = matting.views(image, size, geometry, output.quality, photo_size=photo.size)
        views = [colour.as_seen(square, profile) for square in squares]
    own = None if profile is None else squares
    return Prepared(image, photo.size, views, picture, profile, own, photo.density, photo.frames)


def finish(prepared: Prepared, alphas: Sequence[Alpha], output: Output, manifest: Manifest) -> Finished:
    """From the network's alpha of each square to the file that was asked for; the whole photo's where nobody is
    found.

    Raises the renderer's and the encoder's ClientErrors.
    """
    with timing.stage("refine"):
        matte = matting.finish(
            prepared.image,
            prepared.squares or prepared.views,
            alphas,
            manifest.geometry,
            sharpness=manifest.sharpness,
            only_main=output.subject is Subject.MAIN,
            photo_size=prepared.size,
        )
    drawn = output if matte.foreground else output.model_copy(update={"crop": False, "placement": None})
    if isinstance(ground := drawn.background, Ground):
        own = colour.colour_in(ground.colour, prepared.profile)
        drawn = drawn.model_copy(update={"background": replace(ground, colour=own)})
    with nullcontext() if output.is_matte else timing.stage("compose"):
        rendered = render(prepared.image, matte.alpha, drawn, prepared.picture)
    with timing.stage("encode"):
        data = encode.encode(rendered.pixels, output.format, profile=prepared.profile, dots=prepared.density)
    height, width = rendered.pixels.shape[:2]
    person = rendered.person if matte.foreground else None
    return Finished(
        data,
        output.format.media_type,
        height,
        width,
        person,
        matte.confidence,
        matte.foreground,
        matte.subjects,
        prepared.frames,
    )


def _of_background(work: Callable[[], T]) -> T:
    """So that its errors are not taken for the photo's."""
    try:
        return work()
    except ClientError as error:
        raise type(error)(f"Background: {error.detail}") from None
