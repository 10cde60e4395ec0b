"""How far a matte can be trusted, from the network's own alpha: no truth is needed.

In: alpha float32 `[h,w]` in 0..1, the part of the network's square that holds the photo. Out: a number, a decision.
Knows nothing of pictures, files or HTTP.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from model.transforms import Alpha

FOREGROUND: Final = 0.5
# Less than this share of the picture as foreground is nobody: specks. Of 256 × 256 pixels, an area of 11 × 11.
FOREGROUND_SHARE_MIN: Final = 0.002


def confidence(alpha: Alpha, sharpness: float = 1.0) -> float:
    """The mIoU, in 0..1, that this matte may be expected to have when it is cut at 0.5.

    Each alpha, its model's `sharpness` (`model.contract.Manifest`) undone, is read as the probability that its pixel
    is foreground, as cross-entropy trains it to be. Then the intersection and the union of the matte with an unknown
    truth have expected areas, for the foreground and for the background; this is the mean of the two quotients. A
    matte of 0 and 1 alone has 1, one of 0.5 everywhere 0.25.
    """
    inside = alpha >= FOREGROUND
    if sharpness != 1:
        ours, others = (cv2.pow(each, 1 / sharpness) for each in (alpha, 1 - alpha))
        alpha = np.asarray(ours / (ours + others), np.float32)
    foreground = float(alpha.sum(dtype=np.float64))
    return (
        _expected_iou(alpha[inside], foreground) + _expected_iou(1 - alpha[~inside], alpha.size - foreground)
    ) / 2


def _expected_iou(chosen: Alpha, expected_area: float) -> float:
    """`chosen`: the probabilities of the pixels that the matte gives to a class of `expected_area` pixels in all."""
    hit = float(chosen.sum(dtype=np.float64))
    union = chosen.size + expected_area - hit
    return hit / union if union > 0 else 1.0


def has_foreground(alpha: Alpha) -> bool:
    """Whether anybody is in the picture, by FOREGROUND_SHARE_MIN."""
    return float(np.mean(alpha >= FOREGROUND)) >= FOREGROUND_SHARE_MIN
