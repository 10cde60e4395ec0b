"""A foreground and its alpha come in; the cut-out with its alpha channel, or a picture with something under the
person, goes out.

Pure pixel maths on arrays: new arrays are returned, none is changed. Knows no bytes, no network and no HTTP.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from app.imaging.tiles import OPAQUE, tiles_of
from app.values import Colour
from model.transforms import Alpha8, Image, stretch

# Of a tile, in pixels. Fewer rows follow the edge more closely, in more calls: threads that make many short ones keep
# each other waiting for Python's lock.
HIGH: Final = 256
WIDE: Final = 64


def compose_rgba(image: Image, alpha: Alpha8) -> Image:
    """Photo uint8 `[H,W,3]` and alpha uint8 `[H,W]` to a cutout uint8 `[H,W,4]`, its colours unchanged."""
    cutout = np.empty((*image.shape[:2], 4), np.uint8)
    # 12 megapixels take 21 ms, against 54 ms for np.dstack.
    cv2.mixChannels([image, alpha], [cutout], [0, 0, 1, 1, 2, 2, 3, 3])
    return cutout


def lay_over(foreground: Image, alpha: Alpha8, background: Image | Colour) -> Image:
    """The foreground uint8 `[H,W,3]` over a picture of the same size or over one colour, uint8 `[H,W,3]`."""
    laid = _picture(background, *alpha.shape)
    tiles = tiles_of(alpha, HIGH, WIDE)
    for part in tiles.runs(tiles.solid):
        laid[part] = foreground[part]
    for part in tiles.runs(tiles.band):
        laid[part] = _blend(foreground[part], alpha[part], laid[part])
    return laid


def lay_under(
    foreground: Image, alpha: Alpha8, colour: Colour, opacity: Alpha8 | int
) -> tuple[Image, Alpha8]:
    """One half transparent colour under the foreground: colours uint8 `[H,W,3]` and alpha uint8 `[H,W]` of both.

    `opacity`: 0..255, of the whole (a half transparent background) or of each pixel `[H,W]` (a shadow). What is laid
    over a background afterwards comes out as if the background had been tinted first and the foreground followed.
    """
    each = np.full_like(alpha, opacity) if isinstance(opacity, int) else opacity
    rest = np.asarray(cv2.multiply(OPAQUE - alpha, each, scale=1 / OPAQUE), np.uint8)
    total = alpha + rest
    # How much of the visible colour is the foreground's. Where nothing is visible, it stays as it is.
    share = np.asarray(cv2.divide(alpha, total, scale=OPAQUE), np.uint8)
    share[total == 0] = OPAQUE
    return lay_over(foreground, share, colour), total


def resize_cutout(cutout: Image, height: int, width: int) -> Image:
    """A cutout uint8 `[H,W,4]` at another size; colours count as much as they are seen, so that none of the hidden
    ones gets into the edge. Hidden pixels become 0."""
    seen = stretch(np.asarray(cv2.cvtColor(cutout, cv2.COLOR_RGBA2mRGBA), np.uint8), height, width)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_mRGBA2RGBA), np.uint8)


def _picture(background: Image | Colour, height: int, width: int) -> Image:
    """A picture of its own to draw on."""
    if not isinstance(background, tuple):
        return background.copy()
    row = np.tile(np.array(background, np.uint8), (width, 1))
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = row  # whole rows at a time: three bytes at a time are slow
    return picture


def _blend(foreground: Image, alpha: Alpha8, background: Image) -> Image:
    """αF + (1-α)B, rounded to the nearest level, in 16 bits."""
    share = np.asarray(cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)).astype(np.uint16)
    blended = foreground.astype(np.uint16)
    blended *= share
    share ^= OPAQUE
    share *= background.astype(np.uint16)
    blended += share
    # By 255 without a division, exact up to 255 · 255: (x + x/256) / 256 with x half a step higher.
    blended += 128
    blended += blended >> 8
    blended >>= 8
    return blended.astype(np.uint8)
