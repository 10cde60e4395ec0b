"""Files to arrays for evaluation: images uint8 `[H,W,3]` RGB, alphas float32 `[H,W]` in 0..1, trimaps uint8 `[H,W]`.

EXIF orientation is not applied: the data set's mattes were drawn on the stored pixels.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


class ImageError(ValueError):
    """A file of the data set is missing or cannot be decoded; the message names it."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 `[H,W,3]`. Raises ImageError."""
    pixels = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.ascontiguousarray(pixels[:, :, ::-1])


def read_alpha(path: Path) -> NDArray[np.float32]:
    """float32 `[H,W]` in 0..1; of several channels the first (red) counts. Raises ImageError."""
    return read_alpha_bytes(path).astype(np.float32) / np.float32(255)


def read_alpha_bytes(path: Path) -> NDArray[np.uint8]:
    """The same as it is stored, uint8 `[H,W]`. Raises ImageError."""
    return _first_channel(path)


def read_trimap(path: Path) -> NDArray[np.uint8]:
    """uint8 `[H,W]` of 0, 128 and 255. Raises ImageError."""
    return _first_channel(path)


def _first_channel(path: Path) -> NDArray[np.uint8]:
    pixels = _read(path, cv2.IMREAD_UNCHANGED)
    # OpenCV reads blue first: red is channel 2 of three or four.
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, min(2, pixels.shape[2] - 1)])


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), flags)
    if pixels is None:
        raise ImageError(f"{path}: missing or not a readable image")
    if pixels.dtype != np.uint8:
        raise ImageError(f"{path}: 8 bits per channel expected, not {pixels.dtype}")
    return np.asarray(pixels, np.uint8)
