"""Shadow traffic: run a share of the photos through a candidate model, and record how far its mattes differ.

The answers do not wait for the candidate, and never contain its mattes. If it cannot keep up, photos are skipped
instead of queued.
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

MAX_CONCURRENT: Final = 2  # comparisons at the same time
SIDE_MAX: Final = 512  # pixels of the longer side of the compared mattes

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`squares` computes the candidate's squares of a photo of `size` (height, width in pixels); `served_alphas` are
    the alphas of the model of `manifest`, which made the answer."""

    candidate: Servable
    squares: Callable[[], Awaitable[Sequence[Image]]]
    size: tuple[int, int]
    served_alphas: Sequence[Alpha]
    manifest: Manifest


class ShadowTraffic:
    """Compare the answers with a candidate's, for `share` (0..1) of the photos."""

    def __init__(self, share: float, metrics: Metrics, rng: random.Random | None = None) -> None:
        self._share = share
        self._metrics = metrics
        self._random = rng or random.Random()
        self._comparing: set[asyncio.Task[None]] = set()

    def should_sample(self) -> bool:
        """Whether to compare the current photo. Counts it as passed over if too many comparisons are running."""
        if self._random.random() >= self._share:
            return False
        if len(self._comparing) >= MAX_CONCURRENT:
            self._metrics.shadow.labels("passed_over").inc()
            return False
        return True

    def compare(self, comparison: Comparison) -> None:
        """Start the comparison in a task of its own."""
        task = asyncio.create_task(self._compare(comparison), name="shadow")
        self._comparing.add(task)
        task.add_done_callback(self._comparing.discard)

    async def _compare(self, comparison: Comparison) -> None:
        candidate = comparison.candidate
        try:
            with candidate.in_use(), timing.ignore():  # not stages of the request
                batched = await servable.gather(candidate.submit_squares(await comparison.squares()))
        except ServiceError as error:
            self._metrics.shadow.labels("failed").inc()
            _log.warning("candidate model %s failed: %s", candidate.manifest.label, error)
            return
        size = _comparison_size(*comparison.size)
        outputs = [each.output for each in batched]
        candidate_matte = matting.coarse(outputs, candidate.manifest.geometry, comparison.size, size)
        served_matte = matting.coarse(
            comparison.served_alphas, comparison.manifest.geometry, comparison.size, size
        )
        self._metrics.shadow.labels("compared").inc()
        self._metrics.shadow_difference.observe(difference(candidate_matte, served_matte))


def squares_for(
    candidate: Manifest, image: Image, photo_size: tuple[int, int], quality: Quality
) -> list[Image]:
    """The candidate's squares of `image` uint8 `[H,W,3]`."""
    return matting.views(image, candidate.input_size, candidate.geometry, quality, photo_size=photo_size)


def difference(a: Alpha8, b: Alpha8) -> float:
    """Mean absolute difference of two mattes of one size, 0..1."""
    return float(np.mean(np.abs(a.astype(np.int16) - b.astype(np.int16)))) / 255


def _comparison_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of the photo scaled down to at most SIDE_MAX."""
    factor = min(1.0, SIDE_MAX / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
