from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from app.errors import NotReady, TooManyPixels
from app.metrics import Metrics
from app.pipeline import Output, Pipeline, finish, prepare
from app.predictor import Predict, Predictor
from app.settings import Settings
from model.contract import Manifest
from tests.conftest import Gate, mean_colour
from tests.portraits import jpeg, pixels, plain, png, portrait


@asynccontextmanager
async def pipeline(predict: Predict = mean_colour, **chosen: object) -> AsyncIterator[Pipeline]:
    made = Pipeline(Settings(**chosen), Metrics())  # type: ignore[arg-type]
    manifest = Manifest("x", "1", 32, "stretch", {})
    await made.start(lambda: Predictor(manifest, "none", "float32", (1, 2, 4, 8), predict))
    try:
        yield made
    finally:
        await made.close()


def test_prepared_matte_does_not_keep_the_photo() -> None:
    data = jpeg(portrait(60, 80), orientation=6)
    prepared = prepare(data, 32, Output.MATTE, max_pixels=10_000)
    assert prepared.square.shape == (32, 32, 3)
    assert (prepared.height, prepared.width, prepared.image) == (80, 60, None)
    kept = prepare(data, 32, Output.CUTOUT, max_pixels=10_000).image
    assert kept is not None
    assert kept.shape == (80, 60, 3)


def test_finished_alpha_has_the_photo_size_and_its_values() -> None:
    prepared = prepare(png(plain(1, 100, 64)), 32, Output.MATTE, max_pixels=10_000)
    alpha = np.zeros((32, 32), np.float32)
    alpha[16:] = 1
    matte = pixels(finish(prepared, alpha))
    assert matte.shape == (100, 64)
    assert (matte[:45] == 0).all()
    assert (matte[55:] == 255).all()


async def test_cutout_keeps_the_colours_and_has_the_matte_as_alpha() -> None:
    image = portrait()
    async with pipeline() as service:
        matte = await service.run(png(image), Output.MATTE)
        cutout = await service.run(png(image), Output.CUTOUT)
    rgba = pixels(cutout.png)
    assert np.array_equal(rgba[..., :3], image)
    assert np.array_equal(rgba[..., 3], pixels(matte.png))


async def test_error_of_one_photo_is_its_own() -> None:
    async with pipeline(max_pixels=1000) as service:
        good, bad = await asyncio.gather(
            service.run(png(plain(50, 20, 20)), Output.MATTE),
            service.run(png(plain(50, 100, 100)), Output.MATTE),
            return_exceptions=True,
        )
    assert not isinstance(good, BaseException)
    assert isinstance(bad, TooManyPixels)


async def test_closing_finishes_what_is_inside(gate: Gate) -> None:
    async with pipeline(gate, max_batch_size=1) as service:
        inside = [asyncio.ensure_future(service.run(png(plain(9)), Output.MATTE)) for _ in range(3)]
        await asyncio.to_thread(gate.entered.wait, 10)
        closing = asyncio.ensure_future(service.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady):
            service.check_ready()
        gate.opened.set()
        assert [(await photo).height for photo in inside] == [24, 24, 24]
        await closing


async def test_closing_gives_up_at_the_drain_deadline(gate: Gate) -> None:
    async with pipeline(gate, max_batch_size=1, drain_timeout_ms=20) as service:
        inside = asyncio.ensure_future(service.run(png(plain(9)), Output.MATTE))
        await asyncio.to_thread(gate.entered.wait, 10)
        await service.close()
        with pytest.raises(NotReady):
            await inside


async def test_pipeline_without_a_model_is_not_ready() -> None:
    service = Pipeline(Settings(), Metrics())
    with pytest.raises(NotReady, match="loading"):
        service.check_ready()
    with pytest.raises(NotReady, match="loading"):
        await service.run(png(plain(9)), Output.MATTE)
    await service.close()
