"""The one geometry between a photo and the network's square, used by the service and by the evaluation.

In: an upright image uint8 `[H,W,3]` RGB. Out: the network's input uint8 `[S,S,3]`; and back: the network's
alpha float32 `[S,S]` in 0..1 to the photo's size. Knows nothing of files, of the network or of HTTP.

A geometry (`model.contract.GEOMETRIES`) says how far a photo may be stretched to fill the square:

    stretch     all the way, as in the U²-Net paper (§4.1)
    limited     up to 4:3; a longer photo lies between two bars
    letterbox   not at all: every photo that is not square lies between two bars
"""

from __future__ import annotations

from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from model.contract import GEOMETRIES

Image = NDArray[np.uint8]
Alpha = NDArray[np.float32]
Alpha8 = NDArray[np.uint8]  # alpha in 0..255
Pixels = TypeVar("Pixels", Image, Alpha)
Box = tuple[slice, slice]

# What fills the square beside a photo that is not stretched all the way: the mean colour of ImageNet's photos,
# so zero after the network's normalisation.
BAR_COLOUR: Final = (124, 116, 104)


def to_model_input(
    image: Image, size: int, geometry: str, photo_size: tuple[int, int] | None = None
) -> Image:
    """Lay `image` `[H,W,3]` into `[size,size,3]`, both uint8.

    `photo_size`: height and width of the photo where `image` is a smaller one of it, whose sides were rounded.
    """
    height, width = photo_size or image.shape[:2]
    rows, columns = content_box(height, width, size, geometry)
    content = stretch(image, rows.stop - rows.start, columns.stop - columns.start)
    if content.shape[:2] == (size, size):
        return content
    square = np.empty((size, size, 3), np.uint8)
    square[:] = BAR_COLOUR
    square[rows, columns] = content
    return square


def to_image_size(alpha: Alpha, height: int, width: int, geometry: str) -> Alpha:
    """The network's alpha float32 `[S,S]` to `[height,width]`, values kept in 0..1.

    Exactly the inverse geometry of `to_model_input`.
    """
    return stretch(alpha[content_box(height, width, alpha.shape[0], geometry)], height, width)


def to_8_bits(alpha: Alpha) -> Alpha8:
    """Alpha float32 in 0..1 to uint8, rounded to the nearest step, never stretched."""
    # One pass in OpenCV: 12 megapixels take 8 ms, against 38 ms for multiply, rint and astype in NumPy.
    return np.asarray(cv2.convertScaleAbs(alpha, alpha=255.0), np.uint8)


def content_box(height: int, width: int, size: int, geometry: str) -> Box:
    """The rows and columns of the square of `size` pixels that hold a photo of `height` x `width`."""
    limit = GEOMETRIES[geometry]
    return (
        _centred(limit * height / width, size),
        _centred(limit * width / height, size),
    )


def _centred(share: float, size: int) -> slice:
    length = max(1, round(min(share, 1.0) * size))
    start = (size - length) // 2
    return slice(start, start + length)


def stretch(pixels: Pixels, height: int, width: int) -> Pixels:
    """To `[height,width]`, each axis on its own: one that shrinks is averaged, so that no detail aliases; then one
    that grows is bilinear."""
    if pixels.shape[0] >= 3 * height and pixels.shape[1] >= 3 * width:
        pixels = _halved(pixels)
    now_high, now_wide = pixels.shape[:2]
    shrunk = (min(now_wide, width), min(now_high, height))
    if shrunk != (now_wide, now_high):
        pixels = np.asarray(cv2.resize(pixels, shrunk, interpolation=cv2.INTER_AREA), pixels.dtype)
    if shrunk != (width, height):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), pixels.dtype)
    return pixels


def _halved(pixels: Pixels) -> Pixels:
    """To half its size where that is whole numbers. In two steps, of which OpenCV has a quick one for exactly this, a
    large photo takes two thirds of the time; one pixel in eight differs by one level."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        return pixels
    half = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, pixels.dtype)
