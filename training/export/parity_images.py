"""Pictures on which two forms of a network are compared: any network for people finds somebody in them.

On noise, discs and clouds a trained network's alpha is 0 everywhere, whatever is wrong with its copy.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Ellipses of a head and shoulders, the farthest first: centre and half axes (x, y) as shares of the side, and RGB.
_BUST: Final = (
    ((0.50, 1.05), (0.38, 0.42), (60, 40, 45)),
    ((0.50, 0.62), (0.08, 0.12), (205, 160, 135)),
    ((0.50, 0.36), (0.17, 0.22), (50, 35, 25)),
    ((0.50, 0.42), (0.14, 0.19), (215, 170, 145)),
    ((0.45, 0.39), (0.02, 0.01), (40, 30, 30)),
    ((0.55, 0.39), (0.02, 0.01), (40, 30, 30)),
    ((0.50, 0.51), (0.05, 0.01), (160, 80, 80)),
)


def parity_images(size: int) -> NDArray[np.uint8]:
    """uint8 `[2,size,size,3]`: a drawn person before a plain ground, and the same under noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    person = np.stack([np.full_like(x, 90), np.full_like(x, 120), 100 + 80 * x], axis=2)
    for centre, half, colour in _BUST:
        person[((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 < 1] = colour
    soft = cv2.GaussianBlur(person, (0, 0), max(size / 300, 0.5))
    noise = np.random.default_rng(0).normal(0, 20, soft.shape)
    return np.stack([soft, soft + noise]).clip(0, 255).astype(np.uint8)
