"""How good a matte is, on arrays: P3M-10k's own metrics (Li et al., ACM MM 2021, §5.1), and IoU.

In: predicted and true alpha `[H,W]` at the picture's own size, each uint8 in 0..255 or floating point in 0..1, and
for the metrics by region a trimap uint8 `[H,W]` of 0, 128 and 255. Out: one number per metric and image; a data set's
figure is their mean. All arithmetic is in float64, on k/255 where a matte has 8 bits.

CONN is how much of a matte is connected with its largest part (Rhemann et al., CVPR 2009). P3M weighs no distance in,
and charges only pixels that are at least CONN_TOLERANCE above the level up to which they are connected.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha: TypeAlias = NDArray[np.uint8] | NDArray[np.floating[Any]]
Trimap: TypeAlias = NDArray[np.uint8]
Unit: TypeAlias = NDArray[np.float64]  # `[H,W]` in 0..1

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255  # what a trimap says of a pixel
GRADIENT_SIGMA: Final = 1.4  # pixels; of the Gaussian whose derivatives GRAD compares


def score_matte(predicted: Alpha, truth: Alpha, trimap: Trimap | None = None) -> dict[str, float]:
    """Every metric of one image: SAD, MSE, MAD, GRAD, CONN and mIoU; with a trimap also SAD-T, MSE-T, MAD-T, SAD-FG
    and SAD-BG. SAD, SAD-* and CONN are in thousands of pixels.

    Raises ValueError when sizes differ, or when a matte is neither uint8 nor floating point in 0..1.
    """
    _check(predicted, truth, trimap)
    prediction, target = _unit(predicted), _unit(truth)
    difference = np.abs(prediction - target)
    scores = {
        "SAD": _thousands(difference),
        "MSE": _mean_square(difference),
        "MAD": float(np.mean(difference)),
    }
    if trimap is not None:
        scores |= _transition_scores(prediction, target, trimap)
        scores["SAD-FG"] = _thousands(difference[trimap == FOREGROUND])
        scores["SAD-BG"] = _thousands(difference[trimap == BACKGROUND])
    scores["GRAD"] = gradient_error(prediction, target)
    scores["CONN"] = connectivity_error(prediction, target)
    scores["mIoU"] = mean_iou(prediction, target)
    return scores


def _transition_scores(prediction: Unit, target: Unit, trimap: Trimap) -> dict[str, float]:
    """SAD-T, MSE-T and MAD-T: the prediction where the trimap leaves the matter open, else what the trimap says.

    The sums run over the whole picture, so that a truth that is not 1 in the foreground or 0 in the background
    counts, and are divided by the number of unknown pixels. In a trimap without any, P3M counts those that are
    neither foreground nor background; where there are none of these either it would divide by 0, and 1 stands in.
    """
    decided = np.where(trimap == FOREGROUND, 1.0, np.where(trimap == BACKGROUND, 0.0, prediction))
    difference = np.abs(decided - target)
    unknown = np.count_nonzero(trimap == UNKNOWN)
    open_pixels = unknown or np.count_nonzero((trimap != FOREGROUND) & (trimap != BACKGROUND)) or 1
    return {
        "SAD-T": _thousands(difference),
        "MSE-T": float(np.sum(difference**2) / open_pixels),
        "MAD-T": float(np.sum(difference) / open_pixels),
    }


def mean_iou(predicted: Alpha, truth: Alpha, threshold: float = 0.5) -> float:
    """Mean of the foreground's and the background's intersection over union, both mattes cut at `threshold`.

    A class that neither matte has counts as 1: an empty matte for an empty truth is right.
    """
    prediction, target = _unit(predicted) >= threshold, _unit(truth) >= threshold
    return (_iou(prediction, target) + _iou(~prediction, ~target)) / 2


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def gradient_error(predicted: Alpha, truth: Alpha) -> float:
    """GRAD: squared difference of the gradients' magnitudes, summed over the picture, divided by 10."""
    difference = _gradient_magnitude(_unit(predicted)) - _gradient_magnitude(_unit(truth))
    return float(np.sum(difference**2) / 10)


def _gradient_magnitude(alpha: Unit) -> Unit:
    """By derivatives of a Gaussian cut at four sigma, edges mirrored: those of scipy.ndimage.gaussian_filter."""
    radius = int(4 * GRADIENT_SIGMA + 0.5)
    x = np.arange(-radius, radius + 1)
    smooth = np.exp(-0.5 * (x / GRADIENT_SIGMA) ** 2)
    smooth /= smooth.sum()
    slope = smooth * x / GRADIENT_SIGMA**2
    across, down = (
        cv2.sepFilter2D(alpha, cv2.CV_64F, kernel_x, kernel_y, borderType=cv2.BORDER_REFLECT)
        for kernel_x, kernel_y in ((slope, smooth), (smooth, slope))
    )
    return np.sqrt(across**2 + down**2)


def _thousands(difference: Unit) -> float:
    return float(np.sum(difference) / 1000)


def _mean_square(difference: Unit) -> float:
    return float(np.mean(difference**2))


def _unit(alpha: Alpha) -> Unit:
    """float64 in 0..1. CONN's thresholds fall on multiples of 1/255: float32 would put pixels on their other side."""
    unit = alpha.astype(np.float64, copy=False)
    return unit / 255 if alpha.dtype == np.uint8 else unit


def _check(predicted: Alpha, truth: Alpha, trimap: Trimap | None) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise ValueError(f"mattes must be [H,W] of one size, not {predicted.shape} and {truth.shape}")
    if trimap is not None and trimap.shape != truth.shape:
        raise ValueError(f"the trimap is {trimap.shape}, the mattes are {truth.shape}")
    for name, alpha in (("prediction", predicted), ("truth", truth)):
        if alpha.dtype == np.uint8:
            continue
        if not np.issubdtype(alpha.dtype, np.floating):
            raise ValueError(f"the {name} must be uint8 or floating point, not {alpha.dtype}")
        if not (alpha.min(initial=0) >= 0 and alpha.max(initial=0) <= 1):
            raise ValueError(f"the {name} has values outside 0..1")


# P3M's own values, to the last bit: its 0.3 is 0.30000000000000004.
CONN_THRESHOLDS: Final = np.arange(0, 1.1, 0.1)
CONN_TOLERANCE: Final = 0.15

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
    reached = (shared >= CONN_THRESHOLDS[1]).view(np.uint8)
    if not reached.any():
        return np.ones(shared.shape, np.float32)
    # All else is at the first level, so that the people's box is enough to label.
    left, top, width, height = cv2.boundingRect(reached)
    box = slice(top, top + height), slice(left, left + width)
    level = np.full(shared.shape, CONN_THRESHOLDS[0], np.float32)
    level[box] = _level_in_box(np.ascontiguousarray(shared[box]))
    return level


def _level_in_box(shared: NDArray[np.float64]) -> NDArray[np.float32]:
    level = np.ones(shared.shape, np.float32)
    connected = np.ones(shared.shape, np.bool_)
    core: Pixel = (0, 0)  # a guess until the first labelling
    above = -1
    for below, threshold in pairwise(CONN_THRESHOLDS):
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
    return 1 - excess * (excess >= CONN_TOLERANCE)
