"""What is laid under a cut-out person: another picture, or the photo itself, blurred.

In: a picture or a photo uint8 `[H,W,3]` with its alpha uint8 `[H,W]`. Out: a background uint8 `[H,W,3]`. Pure pixel
maths on arrays; knows no bytes, no network and no HTTP.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from app.picture.layers import Plane, mean_around, reduced
from app.picture.tiles import OPAQUE
from model.transforms import Alpha8, Image, stretch

# Standard deviations of no blur to speak of and of the strongest, as shares of the photo's longer side.
BLUR: Final = (0.003, 0.03)
STRIP: Final = 32  # times as long as wide: of what is longer, the length says nothing of the blur
CELLS: Final = 1.5  # per standard deviation: so far is the photo reduced before it is blurred


def cover(picture: Image, height: int, width: int) -> Image:
    """The middle of `picture`, as much as has the shape of `[height,width]`, at that size."""
    high, wide = picture.shape[:2]
    scale = min(high / height, wide / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (high - rows) // 2, (wide - columns) // 2
    middle = reduced(picture[top : top + rows, left : left + columns], max(1, int(scale)))
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def blurred(image: Image, alpha: Alpha8, strength: int) -> Image:
    """The photo's background, blurred by `strength` 1..100, without the person: his colours don't glow around him.
    Behind him, as far as he is half transparent, the colours beside him go on."""
    height, width = alpha.shape
    least, most = BLUR
    longer = min(max(height, width), STRIP * min(height, width))
    deviation = (least + (most - least) * strength / 100) * longer
    cell = min(max(1, int(deviation / CELLS)), height, width)

    def window(plane: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), deviation / cell), np.float32)

    means = mean_around(reduced(image, cell), OPAQUE - reduced(alpha, cell), window)
    return stretch(np.asarray(cv2.convertScaleAbs(means), np.uint8), height, width)
