from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.concurrency.watchdog import Watchdog
from app.inference.predictor import Predictor
from app.inference.servable import DeviceContext, Servable, on_device
from app.inference.shadow_traffic import MAX_CONCURRENT, Comparison, ShadowTraffic, difference, squares_for
from app.observability.metrics import Metrics
from app.settings import Settings
from model import matting
from model.contract import Manifest
from model.quality import Quality
from tests.support.networks import Gate, mean_colour
from tests.support.services import until

SIZE = (40, 60)


def manifest(side: int, geometry: str = "stretch") -> Manifest:
    return Manifest("a", "1", side, geometry, files={})  # type: ignore[arg-type]


@pytest.fixture
def device() -> Iterator[DeviceContext]:
    with ThreadPoolExecutor(2) as threads:
        yield DeviceContext(threads, Watchdog(60).pool("", 1), Metrics(), Settings())


def candidate(device: DeviceContext, predict: object = mean_colour, side: int = 16) -> Servable:
    return on_device(Predictor(manifest(side), "cpu", "float32", (1, 2), predict), device)  # type: ignore[arg-type]


def plain(grey: int) -> np.ndarray:
    return np.full((*SIZE, 3), grey, np.uint8)


def comparison(served: Servable, answered: float) -> Comparison:
    """Of a plain photo whose answer was the same alpha everywhere."""

    async def see() -> list[np.ndarray]:
        return squares_for(served.manifest, plain(51), SIZE, Quality.STANDARD)

    return Comparison(served, see, SIZE, [np.full((32, 32), answered, np.float32)], manifest(32))


def outcomes(metrics: Metrics) -> dict[str, float]:
    names = ("compared", "passed_over", "failed")
    values = {
        name: metrics.registry.get_sample_value("matte_shadow_total", {"outcome": name}) for name in names
    }
    return {name: value for name, value in values.items() if value}


async def test_difference_of_the_two_mattes_is_told(device: DeviceContext) -> None:
    """The candidate finds the photo's grey, 51 of 255; the answer was 0.5 everywhere."""
    served = candidate(device)
    shadow = ShadowTraffic(1.0, device.metrics)
    assert (await comparison(served, 0.5).squares())[0].shape == (16, 16, 3)
    shadow.compare(comparison(served, 0.5))
    await until(lambda: outcomes(device.metrics) == {"compared": 1})
    told = device.metrics.registry.get_sample_value("matte_shadow_difference_sum")
    assert told == pytest.approx(0.3, abs=1 / 255)
    await served.close()


async def test_candidate_that_fails_is_counted_and_nothing_else(device: DeviceContext) -> None:
    def fails(_batch: object) -> None:
        raise ValueError("no")

    served = candidate(device, fails)
    ShadowTraffic(1.0, device.metrics).compare(comparison(served, 0.0))
    await until(lambda: outcomes(device.metrics) == {"failed": 1})
    await served.close()


async def test_photos_are_passed_over_while_the_candidate_is_busy(device: DeviceContext, gate: Gate) -> None:
    served = candidate(device, gate)
    shadow = ShadowTraffic(1.0, device.metrics)
    for _ in range(MAX_CONCURRENT):
        assert shadow.should_sample()
        shadow.compare(comparison(served, 0.0))
    assert not shadow.should_sample()
    assert outcomes(device.metrics) == {"passed_over": 1}
    gate.opened.set()
    await until(shadow.should_sample)
    await served.close()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 250), (1.0, 1000)])
def test_share_of_the_photos_is_seen(share: float, expected: int) -> None:
    shadow = ShadowTraffic(share, Metrics(), random.Random(0))
    # Of 1,000 drawn with probability 1/4, the count is off by more than 5 standard deviations (14) never.
    assert abs(sum(shadow.should_sample() for _ in range(1_000)) - expected) <= 70


def test_matte_of_two_views_is_their_mean() -> None:
    left = np.zeros((32, 32), np.float32)
    left[:, :16] = 1
    both = matting.coarse([left, left[:, ::-1]], "stretch", (80, 80), (8, 8))
    assert difference(both, matting.coarse([left], "stretch", (80, 80), (8, 8))) == 0
    assert difference(both, 255 - both) == pytest.approx(1.0, abs=0.2)
