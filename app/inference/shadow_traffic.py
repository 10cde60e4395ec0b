"""A candidate sees a share of the photos after they are answered; how far its mattes are off goes out as a metric.

Nobody waits for it, and nobody gets its matte. When it cannot keep up, photos are passed over instead of queueing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.errors import ServiceError
from app.inference import servable
from app.inference.servable import Servable
from app.observability import timing
from app.observability.metrics import Metrics
from model import matting
from model.contract import Manifest
from model.quality import Quality
from model.transforms import Alpha, Alpha8, Image

AT_ONCE: Final = 2  # comparisons under way
SIDE_MAX: Final = 512  # pixels of the longer side of the mattes that are compared

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`see` gives the candidate's views of a photo of `size` (height, width in pixels); `answered` are the alphas of
    the model of `manifest`, whose matte was the answer."""

    candidate: Servable
    see: Callable[[], Awaitable[Sequence[Image]]]
    size: tuple[int, int]
    answered: Sequence[Alpha]
    manifest: Manifest


class ShadowTraffic:
    """Compares the answers with a candidate's, for `share` (0..1) of the photos."""

    def __init__(self, share: float, metrics: Metrics, draw: random.Random | None = None) -> None:
        self._share = share
        self._metrics = metrics
        self._draw = draw or random.Random()
        self._comparing: set[asyncio.Task[None]] = set()

    def takes_next(self) -> bool:
        """Whether the photo that is at hand is one of the share."""
        if self._draw.random() >= self._share:
            return False
        if len(self._comparing) >= AT_ONCE:
            self._metrics.shadow.labels("passed_over").inc()
            return False
        return True

    def compare(self, comparison: Comparison) -> None:
        """Later, in a task of its own."""
        task = asyncio.create_task(self._compare(comparison), name="shadow")
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)

    async def _compare(self, comparison: Comparison) -> None:
        candidate = comparison.candidate
        try:
            with candidate.in_use(), timing.collect():  # These are no stages of the request.
                batched = await servable.all_of(candidate.begin(await comparison.see()))
        except ServiceError as error:
            self._metrics.shadow.labels("failed").inc()
            _log.warning("model %s failed beside the others: %s", candidate.manifest.label, error)
            return
        size = _shrunk(*comparison.size)
        outputs = [each.output for each in batched]
        own = matting.coarse(outputs, candidate.manifest.geometry, comparison.size, size)
        others = matting.coarse(comparison.answered, comparison.manifest.geometry, comparison.size, size)
        self._metrics.shadow.labels("compared").inc()
        self._metrics.shadow_difference.observe(difference(own, others))


def views_for(
    candidate: Manifest, image: Image, photo_size: tuple[int, int], quality: Quality
) -> list[Image]:
    """What the candidate is to see of `image` uint8 `[H,W,3]`."""
    return matting.views(image, candidate.input_size, candidate.geometry, quality, photo_size=photo_size)


def difference(a: Alpha8, b: Alpha8) -> float:
    """Mean absolute difference of two mattes of one size, 0..1."""
    return float(np.mean(np.abs(a.astype(np.int16) - b.astype(np.int16)))) / 255


def _shrunk(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, SIDE_MAX / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
