"""How good a matte is, on arrays.

In: predicted and true alpha, float32 or float64 `[H,W]` in 0..1 at the picture's own size, and for the band's metrics
a trimap uint8 `[H,W]` of 0, 128 and 255. Out: one number per metric and image; a data set's figure is their mean.
Definitions of P3M-10k (Li et al., ACM MM 2021, §5.1) where it has one; IoU is the segmentation field's.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.floating]
Trimap = NDArray[np.uint8]

UNKNOWN: Final = 128  # the trimap's transition band
GRADIENT_SIGMA: Final = 1.4  # pixels; of the Gaussian whose derivatives GRAD compares


def score_matte(predicted: Alpha, truth: Alpha, trimap: Trimap | None = None) -> dict[str, float]:
    """Every metric of one image. Raises ValueError when sizes differ or a value is not in 0..1."""
    _check(predicted, truth, trimap)
    difference = np.abs(predicted.astype(np.float64) - truth)
    scores = {
        "SAD": float(difference.sum() / 1000),
        "MSE": float(np.mean(difference**2)),
        "MAD": float(np.mean(difference)),
        "mIoU": mean_iou(predicted, truth),
        "GRAD": gradient_error(predicted, truth),
    }
    if trimap is not None:
        scores |= _transition_scores(difference[trimap == UNKNOWN])
    return scores


def mean_iou(predicted: Alpha, truth: Alpha, threshold: float = 0.5) -> float:
    """Mean of the foreground's and the background's intersection over union, both mattes cut at `threshold`.

    A class that neither matte has counts as 1: an empty matte for an empty truth is right.
    """
    prediction, target = predicted >= threshold, truth >= threshold
    return (_iou(prediction, target) + _iou(~prediction, ~target)) / 2


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def gradient_error(predicted: Alpha, truth: Alpha) -> float:
    """GRAD: squared difference of the gradients' magnitudes, summed over the picture, divided by 10."""
    difference = _gradient_magnitude(predicted) - _gradient_magnitude(truth)
    return float(np.sum(difference**2) / 10)


def _gradient_magnitude(alpha: Alpha) -> NDArray[np.float64]:
    """By derivatives of a Gaussian cut at four sigma, edges mirrored."""
    radius = int(4 * GRADIENT_SIGMA + 0.5)
    x = np.arange(-radius, radius + 1)
    smooth = np.exp(-0.5 * (x / GRADIENT_SIGMA) ** 2)
    smooth /= smooth.sum()
    slope = smooth * x / GRADIENT_SIGMA**2
    pixels = alpha.astype(np.float64)
    across, down = (
        cv2.sepFilter2D(pixels, cv2.CV_64F, kernel_x, kernel_y, borderType=cv2.BORDER_REFLECT)
        for kernel_x, kernel_y in ((slope, smooth), (smooth, slope))
    )
    return np.asarray(np.hypot(across, down))


def _transition_scores(band: Alpha) -> dict[str, float]:
    """Over the trimap's unknown pixels alone; outside of them the trimap, not the network, would answer."""
    count = max(band.size, 1)
    return {
        "SAD-T": float(band.sum() / 1000),
        "MSE-T": float(np.sum(band**2) / count),
        "MAD-T": float(band.sum() / count),
    }


def _check(predicted: Alpha, truth: Alpha, trimap: Trimap | None) -> None:
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise ValueError(f"mattes must be [H,W] of one size, not {predicted.shape} and {truth.shape}")
    if trimap is not None and trimap.shape != truth.shape:
        raise ValueError(f"the trimap is {trimap.shape}, the mattes are {truth.shape}")
    for name, alpha in (("prediction", predicted), ("truth", truth)):
        if not (alpha.min(initial=0) >= 0 and alpha.max(initial=0) <= 1):
            raise ValueError(f"the {name} has values outside 0..1")
