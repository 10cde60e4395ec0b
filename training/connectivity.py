"""CONN: how much of a matte hangs together with its largest part (Rhemann et al., CVPR 2009), as P3M-10k measures it.

In: predicted and true alpha, float64 `[H,W]` in 0..1. Out: one number. P3M weighs no distance in, and charges only
pixels that are at least 0.15 above the level up to which they are connected.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

# P3M's own values, to the last bit: its 0.3 is 0.30000000000000004.
THRESHOLDS: Final = np.arange(0, 1.1, 0.1)
TOLERANCE: Final = 0.15

Pixel: TypeAlias = tuple[int, int]  # row, column


def connectivity_error(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """CONN, in thousands of pixels."""
    # Where both mattes are equal they are equally connected, and of most portraits that is most of the picture.
    different = predicted != truth
    level = connected_level(np.minimum(predicted, truth))[different]
    charges = _connectedness(predicted[different], level) - _connectedness(truth[different], level)
    return float(np.sum(np.abs(charges)) / 1000)


def connected_level(shared: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 `[H,W]`: the last threshold before a pixel leaves the largest component, 1 where it never does.

    `shared`: the lesser of the two mattes. Thresholds that nothing reaches are left out.
    """
    reached = (shared >= THRESHOLDS[1]).view(np.uint8)
    if not reached.any():
        return np.ones(shared.shape, np.float32)
    # All else is at the first level, so that the people's box is enough to label.
    left, top, width, height = cv2.boundingRect(reached)
    box = slice(top, top + height), slice(left, left + width)
    level = np.full(shared.shape, THRESHOLDS[0], np.float32)
    level[box] = _level_in_box(np.ascontiguousarray(shared[box]))
    return level


def _level_in_box(shared: NDArray[np.float64]) -> NDArray[np.float32]:
    level = np.ones(shared.shape, np.float32)
    connected = np.ones(shared.shape, np.bool_)
    core: Pixel = (0, 0)  # a guess until the first labelling
    above = -1
    for below, threshold in pairwise(THRESHOLDS):
        reached = shared >= threshold
        before, above = above, int(np.count_nonzero(reached))
        if above == before:
            continue  # the same pixels as at the threshold before: the same component
        if above == 0 or not connected.any():
            break  # nothing reaches a higher threshold, or nothing is left to set
        largest = _majority_around(core, reached, above)
        if largest is None:
            largest = largest_component(reached)
            core = _highest(shared, largest)
        np.copyto(level, below, where=connected & ~largest, casting="same_kind")
        connected &= largest
    return level


def _majority_around(core: Pixel, mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_] | None:
    """The core's component where it has more than half of a mask's `count` pixels, and so is the largest.

    To fill one component takes a tenth of the time that it takes to label all.
    """
    if not mask[core]:
        return None
    filled = mask.astype(np.uint8)
    area, *_ = cv2.floodFill(filled, None, core[::-1], 2, flags=4)
    return filled == 2 if 2 * area > count else None


def _highest(shared: NDArray[np.float64], component: NDArray[np.bool_]) -> Pixel:
    """Where a component is highest: most likely in the largest component of the next thresholds too."""
    row, column = np.unravel_index(np.argmax(np.where(component, shared, -1)), shared.shape)
    return int(row), int(column)


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of a mask `[H,W]` with a pixel set, the largest 4-connected component; of several, the first from the top left,
    row by row, as scikit-image orders them."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    tied = 1 + np.flatnonzero(areas == areas.max())
    first_row = labels[statistics[tied, cv2.CC_STAT_TOP].min()]
    return np.asarray(labels == first_row[np.isin(first_row, tied)][0])


def _connectedness(alpha: NDArray[np.float64], level: NDArray[np.float32]) -> NDArray[np.float64]:
    """1, less what a pixel has above its level, if that is worth a charge."""
    excess = alpha - level
    return 1 - excess * (excess >= TOLERANCE)
