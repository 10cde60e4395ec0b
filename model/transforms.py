"""The one geometry between a photo and the network's square, used by the service and by the evaluation.

In: an upright image uint8 `[H,W,3]` RGB. Out: the network's input uint8 `[S,S,3]`; and back: the network's
alpha float32 `[S,S]` in 0..1 to the photo's size. Geometry "stretch": both axes are scaled on their own to S,
as in the U²-Net paper (§4.1). Knows nothing of files, of the network or of HTTP.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Alpha = NDArray[np.float32]
Pixels = TypeVar("Pixels", Image, Alpha)


def to_model_input(image: Image, size: int) -> Image:
    """Stretch `image` `[H,W,3]` to `[size,size,3]`, both uint8."""
    return _stretch(image, size, size)


def to_image_size(alpha: Alpha, height: int, width: int) -> Alpha:
    """Stretch the network's alpha float32 `[S,S]` to `[height,width]`, values kept in 0..1.

    Exactly the inverse geometry of `to_model_input`.
    """
    return _stretch(alpha, height, width)


def _stretch(pixels: Pixels, height: int, width: int) -> Pixels:
    """An axis that shrinks is averaged, so that no detail aliases; then one that grows is bilinear."""
    now_high, now_wide = pixels.shape[:2]
    shrunk = (min(now_wide, width), min(now_high, height))
    if shrunk != (now_wide, now_high):
        pixels = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), pixels.dtype)
    if shrunk != (width, height):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), pixels.dtype)
    return pixels
