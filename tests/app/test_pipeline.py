from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from app.errors import InferenceFailed, NotReady, OutOfMemory, TooManyPixels, UnreadableImage
from app.imaging.output import CUTOUT, MATTE, Channels, Output
from app.inference.backends.base import Alphas, Batch, Predict
from app.inference.predictor import Predictor
from app.inference.registry import single_model
from app.observability.metrics import Metrics
from app.pipeline import Pipeline
from app.settings import Settings
from model.contract import Manifest
from model.quality import Quality
from tests.support.images import pixels, plain, png, portrait
from tests.support.networks import Gate, mean_colour
from tests.support.services import until


@asynccontextmanager
async def pipeline(predict: Predict = mean_colour, **chosen: object) -> AsyncIterator[Pipeline]:
    made = Pipeline(Settings(**chosen), Metrics())  # type: ignore[arg-type]
    manifest = Manifest("x", "1", 32, "stretch", {})
    await made.start(
        single_model(manifest, lambda: Predictor(manifest, "none", "float32", (1, 2, 4, 8), predict))
    )
    try:
        yield made
    finally:
        await made.close()


async def test_matte_has_the_photo_size_and_the_networks_values() -> None:
    def lower_half(batch: Batch) -> Alphas:
        alphas = np.zeros(batch.shape[:3], np.float32)
        alphas[:, 16:] = 1
        return alphas

    async with pipeline(lower_half) as service:
        result = await service.run(png(plain(1, 100, 64)), MATTE)
    matte = pixels(result.finished.data)
    assert matte.shape == (100, 64)
    assert (matte[:45] == 0).all()
    assert (matte[55:] == 255).all()
    assert result.finished.foreground
    assert result.finished.confidence == 1


async def test_high_quality_asks_the_network_twice_and_takes_the_mean() -> None:
    seen: list[int] = []

    def left_half(batch: Batch) -> Alphas:
        seen.append(len(batch))
        alphas = np.zeros(batch.shape[:3], np.float32)
        alphas[:, :, :16] = 1
        return alphas

    async with pipeline(left_half) as service:
        result = await service.run(
            png(plain(1, 32, 32)), Output(channels=Channels.ALPHA, quality=Quality.HIGH)
        )
    assert sum(seen) == 2
    assert set(np.unique(pixels(result.finished.data))) <= {127, 128}
    assert result.finished.confidence == pytest.approx(0.25)


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("shape", [(90, 160), (40, 200)], ids=["whole", "in tiles"])
async def test_matte_of_pixels_is_that_of_a_file_that_holds_them(
    quality: Quality, shape: tuple[int, int]
) -> None:
    def brightness(batch: Batch) -> Alphas:
        return batch.mean(axis=3, dtype=np.float32) / 255

    photo = portrait(*shape)
    async with pipeline(brightness) as service:
        result = await service.run(png(photo), Output(channels=Channels.ALPHA, quality=quality))
        matte = await service.matte(photo, quality)
    np.testing.assert_array_equal(matte.alpha, pixels(result.finished.data))
    assert (matte.foreground, matte.confidence) == (result.finished.foreground, result.finished.confidence)


async def test_only_so_many_bytes_of_photos_are_decoded_at_once(gate: Gate) -> None:
    # 600 × 500 pixels are 900,000 bytes: of 2,000,000 two photos are let in.
    async with pipeline(gate, max_batch_size=1, cpu_threads=1, max_decoded_bytes=2_000_000) as service:
        photo = png(plain(9, 600, 500))
        inside = [asyncio.ensure_future(service.run(photo, MATTE)) for _ in range(8)]
        await asyncio.to_thread(gate.entered.wait, 10)
        registry = service._metrics.registry

        def value(name: str, **labels: str) -> float:
            return registry.get_sample_value(name, labels) or 0.0

        def decoded() -> float:
            return value("matte_stage_seconds_count", stage="decode")

        # One in the network, one waiting for it decoded, six waiting as files.
        await until(lambda: decoded() == 2 and value("matte_queue_depth") == 7)
        gate.opened.set()
        await asyncio.gather(*inside)
        assert decoded() == 8
        assert value("matte_queue_depth") == 0


async def test_a_photo_larger_than_the_budget_is_served_alone() -> None:
    async with pipeline(max_decoded_bytes=1_000_000) as service:
        large = png(plain(9, 1_000, 1_000))
        results = await asyncio.gather(*(service.run(large, MATTE) for _ in range(3)))
    assert [result.finished.height for result in results] == [1_000] * 3


async def test_a_lone_photo_does_not_wait_for_company() -> None:
    async with pipeline(batch_wait_ms=10_000) as service:
        result = await asyncio.wait_for(service.run(png(plain(9)), MATTE), 5)
    assert result.seconds["queue"] < 1


async def test_photos_that_come_together_leave_together() -> None:
    sizes: list[int] = []

    def counted(batch: Batch) -> Alphas:
        sizes.append(int(batch.any(axis=(1, 2, 3)).sum()))  # without the padding, which is black
        return mean_colour(batch)

    async with pipeline(counted, batch_wait_ms=10_000, cpu_threads=1, max_batch_size=8) as service:
        broken = service.run(b"\x89PNG\r\n\x1a\n", MATTE)
        photos = [service.run(png(plain(value, 300, 300)), MATTE) for value in range(1, 6)]
        done = await asyncio.wait_for(asyncio.gather(*photos, broken, return_exceptions=True), 5)
    assert isinstance(done[-1], UnreadableImage)
    assert sizes == [5]


async def test_a_photo_that_leaves_while_it_waits_gives_its_memory_back(gate: Gate) -> None:
    async with pipeline(gate, max_batch_size=1, cpu_threads=1, max_decoded_bytes=1_000_000) as service:
        photo = png(plain(9, 500, 600))
        inside = [asyncio.ensure_future(service.run(photo, MATTE)) for _ in range(8)]
        await asyncio.to_thread(gate.entered.wait, 10)
        for photo in inside[1:]:
            photo.cancel()
        gate.opened.set()
        await asyncio.gather(*inside, return_exceptions=True)
        last = await asyncio.gather(*(service.run(png(plain(9)), MATTE) for _ in range(8)))
        assert [result.finished.height for result in last] == [24] * 8


async def test_cutout_has_the_matte_as_alpha_and_the_photos_colours_where_it_is_opaque() -> None:
    image = portrait()

    def left_half(batch: Batch) -> Alphas:
        alphas = np.zeros(batch.shape[:3], np.float32)
        alphas[:, :, :16] = 1
        return alphas

    async with pipeline(left_half) as service:
        matte = await service.run(png(image), MATTE)
        cutout = await service.run(png(image), CUTOUT)
    rgba, alpha = pixels(cutout.finished.data), pixels(matte.finished.data)
    assert np.array_equal(rgba[..., 3], alpha)
    opaque = alpha == 255
    assert 0.3 < opaque.mean() < 0.6
    assert np.array_equal(rgba[..., :3][opaque], image[opaque])
    assert matte.seconds.keys() == {"decode", "queue", "infer", "refine", "encode"}
    assert cutout.seconds.keys() == matte.seconds.keys() | {"compose"}


async def test_error_of_one_photo_is_its_own() -> None:
    async with pipeline(max_pixels=1000) as service:
        good, bad = await asyncio.gather(
            service.run(png(plain(50, 20, 20)), MATTE),
            service.run(png(plain(50, 100, 100)), MATTE),
            return_exceptions=True,
        )
    assert not isinstance(good, BaseException)
    assert isinstance(bad, TooManyPixels)


async def test_numbers_that_are_not_finite_fail_the_photo_that_they_are_of_and_not_its_neighbours() -> None:
    def not_for_seven(batch: Batch) -> Alphas:
        alphas = mean_colour(batch)
        alphas[batch[:, 0, 0, 0] == 7] = np.nan
        return alphas

    async with pipeline(not_for_seven, max_batch_size=4, batch_wait_ms=10_000, cpu_threads=1) as service:
        photos = (service.run(png(plain(value, 300, 300)), MATTE) for value in (5, 7, 9))
        first, bad, last = await asyncio.gather(*photos, return_exceptions=True)
        batches = service._metrics.registry.get_sample_value("matte_batch_size_count")
    assert batches == 1
    assert isinstance(bad, InferenceFailed)
    assert [set(np.unique(pixels(done.finished.data))) for done in (first, last)] == [{5}, {9}]  # type: ignore[union-attr]


async def test_memory_that_is_too_short_is_counted_and_is_no_fault_of_the_photo() -> None:
    def short(_batch: Batch) -> Alphas:
        raise MemoryError

    async with pipeline(short, max_batch_size=4) as service:
        with pytest.raises(OutOfMemory):
            await service.run(png(plain(9)), MATTE)
        registry = service._metrics.registry
        assert registry.get_sample_value("matte_out_of_memory_total", {"step": "batch"}) == 1
        assert registry.get_sample_value("matte_batch_limit") == 8  # It was one picture that failed alone.


async def test_closing_finishes_what_is_inside(gate: Gate) -> None:
    async with pipeline(gate, max_batch_size=1) as service:
        inside = [asyncio.ensure_future(service.run(png(plain(9)), MATTE)) for _ in range(3)]
        await asyncio.to_thread(gate.entered.wait, 10)
        closing = asyncio.ensure_future(service.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady):
            service.check_ready()
        gate.opened.set()
        assert [(await photo).finished.height for photo in inside] == [24, 24, 24]
        await closing


async def test_closing_gives_up_at_the_drain_deadline(gate: Gate) -> None:
    async with pipeline(gate, max_batch_size=1, drain_timeout_ms=20) as service:
        # One in the network, some decoded, the last ones still waiting as files.
        inside = [asyncio.ensure_future(service.run(png(plain(9)), MATTE)) for _ in range(12)]
        await asyncio.to_thread(gate.entered.wait, 10)
        await service.close()
        ends = await asyncio.gather(*inside, return_exceptions=True)
        assert [type(end) for end in ends] == [NotReady] * 12


async def test_pipeline_without_a_model_is_not_ready() -> None:
    service = Pipeline(Settings(), Metrics())
    with pytest.raises(NotReady, match="loading"):
        service.check_ready()
    with pytest.raises(NotReady, match="loading"):
        await service.run(png(plain(9)), MATTE)
    await service.close()
