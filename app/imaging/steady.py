"""Steadiness between the frames of a video: alpha is averaged over time where the picture stays the same.

In: frames uint8 `[H,W,3]` and their alpha uint8 `[H,W]`, in order. Out: each frame's steadier alpha, uint8 `[H,W]`.
Knows no network and no file.

    change    how far the frame, shrunk and blurred so that noise averages out, is from the mean picture
    still     1 where the change is no more than noise, 0 where something moved, also beside it
    mean      of alpha and of the picture over the last frames, an exponential one; it starts anew where still is 0

The picture is averaged with the same weights as alpha: so a movement too slow to be seen from one frame to the next
is seen as soon as the mean lags behind, and alpha leaves no trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.transforms import Alpha, Alpha8, Image, stretch

# tests/bench/bench_steady.py measures what these do.
CELL: Final = 4  # pixels of a frame that are averaged along each side, at the least
GRID: Final = 320  # cells along the longer side, at the most
BLUR: Final = 1.0  # standard deviation in cells
NOISE: Final = 2.0  # levels: so much a picture may differ from the mean one and still be the same
MOVED: Final = 4.0  # levels: from here on it is another one
REACH: Final = 3  # cells around what moved that count as moved: alpha's soft edge is wider than the picture's
FRAMES: Final = 4.0  # that the mean weighs as much as, against 1 for the new frame

Plane = NDArray[np.float32]  # one number per cell, `[h,w]`


@dataclass(slots=True)
class _Mean:
    """Mean alpha in levels `[H,W]`, the mean picture `[h,w,3]`, and of how many frames each cell of it is."""

    alpha: Alpha
    picture: NDArray[np.float32]
    frames: Plane


class Steadiness:
    """One video's mean so far. `steady` for each frame, in order; never two at once."""

    def __init__(self) -> None:
        self._mean: _Mean | None = None

    def steady(self, image: Image, alpha: Alpha8) -> Alpha8:
        """Alpha of the next frame, steadier."""
        small, own = _shrunk(image), alpha.astype(np.float32)
        mean = self._mean
        if mean is None:
            self._mean = _Mean(own, small, np.ones(small.shape[:2], np.float32))
            return alpha
        kept = mean.frames * _still(small, mean.picture)
        past = kept / (kept + 1)
        mean.frames = np.minimum(kept + 1, np.float32(FRAMES))
        mean.picture = small + past[..., None] * (mean.picture - small)
        mean.alpha -= own
        mean.alpha *= stretch(past, *alpha.shape)
        mean.alpha += own
        return np.asarray(cv2.convertScaleAbs(mean.alpha), np.uint8)


def _shrunk(image: Image) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    cell = max(CELL, -(-max(height, width) // GRID))
    return stretch(image, -(-height // cell), -(-width // cell)).astype(np.float32)


def _still(small: NDArray[np.float32], picture: NDArray[np.float32]) -> Plane:
    """1 where both pictures are the same, 0 where they are not, for each cell."""
    difference = cv2.GaussianBlur(small - picture, (0, 0), BLUR)
    change = np.abs(difference).max(axis=2)
    near = cv2.dilate(change, np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8))
    return np.asarray(np.clip((MOVED - near) / (MOVED - NOISE), 0, 1), np.float32)
