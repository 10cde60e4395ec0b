"""The mean colour of one of a photo's two layers, person or background, around each of its pixels.

In: the photo uint8 `[H,W,3]` and the layer's share of each pixel, uint8 `[H,W]`. Out: colours float32 `[H,W,3]` in
0..255, also where the layer is hidden. Knows no bytes, no network and no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.transforms import Alpha8, Image

Plane = NDArray[np.float32]  # one number per pixel, `[H,W]`

# Weight of the whole photo's mean, which decides where the layer is nowhere near.
ANYWHERE: Final = 1e-4


def mean_around(image: Image, share: Alpha8, window: Callable[[Plane], Plane]) -> NDArray[np.float32]:
    """Weighted mean over what `window` sums up around each pixel; 0 everywhere if the layer is nowhere.

    A pixel weighs as much as the fourth power of its share: one that is half another layer's shows half of that
    layer's colours, too, and shall not bring them in.
    """
    weight = np.square(np.square(share.astype(np.float32) * np.float32(1 / 255)))

    def summed(plane: Plane) -> Plane:
        return window(plane) + np.float32(ANYWHERE * plane.mean())

    total = np.maximum(summed(weight), np.finfo(np.float32).tiny)
    planes = [summed(plane.astype(np.float32) * weight) / total for plane in cv2.split(image)]
    return np.asarray(cv2.merge(planes), np.float32)


def reduced(pixels: Image | Alpha8, cell: int) -> Image | Alpha8:
    """Means of whole square cells; what is left over at the lower and right edge is left out. To a whole fraction of
    its size OpenCV shrinks a picture several times faster than to any other."""
    rows, columns = pixels.shape[0] // cell, pixels.shape[1] // cell
    whole = pixels[: rows * cell, : columns * cell]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
