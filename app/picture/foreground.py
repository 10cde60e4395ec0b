"""The person's own colours, so that no old background shines through the hair on a new one.

In: a photo uint8 `[H,W,3]` and its alpha uint8 `[H,W]`. Out: the foreground's colours uint8 `[H,W,3]`. Knows no
bytes, no network and no HTTP.

A photo's pixel is I = αF + (1-α)B. As in blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP
2021), near each pixel the mean foreground F and background B come from its surroundings, and of what they leave
unexplained of the pixel, the foreground takes the share α:

    F = mean F + α (I - α mean F - (1-α) mean B)

Different from the paper (tests/bench/bench_foreground.py compares the two): one pass over two windows at once instead
of two passes; surely opaque pixels count far more than half transparent ones, whose colours are half the other
layer's; the means are taken on samples of the photo, since they vary slowly; and only the matte's edge is worked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.picture.layers import Plane, mean_around
from app.picture.tiles import OPAQUE, Choice, Part, tiles_of
from model.transforms import Alpha8, Image

GRID: Final = 256  # samples along the photo's longer side, at the most
WIDE, NARROW = 23, 3  # sides of the two windows, in samples
TILE: Final = 8  # side of a tile, in samples
# Tiles across the shorter side, at the least: in a strip, samples as far apart as its length asks for would lie far
# outside of it, and one row of tiles would be all of it at once.
ACROSS: Final = 8

Levels = NDArray[np.int16]  # colours in 0..255 or differences of them, `[h,w,3]`


def estimate_foreground(image: Image, alpha: Alpha8) -> Image:
    """The foreground's colours; see the module. Where alpha is 255 they are the photo's.

    Where alpha is 0, nothing of the photo stays: near the person lies his own colour, smooth, so that who resizes or
    compresses colours without a look at alpha draws no dark edge; elsewhere 0, which costs a file next to nothing.
    """
    foreground = np.empty_like(image)
    for part, colours in _own_colours(image, alpha):
        foreground[part] = 0 if colours is None else colours
    return foreground


def cut_out(image: Image, alpha: Alpha8) -> Image:
    """`estimate_foreground` with alpha as the fourth channel, uint8 `[H,W,4]`: the same, in one pass."""
    cutout = np.empty((*alpha.shape, 4), np.uint8)
    for part, colours in _own_colours(image, alpha):
        if colours is None:
            cutout[part] = 0
        else:
            cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA, dst=cutout[part])
            cv2.insertChannel(alpha[part], cutout[part], 3)
    return cutout


def _own_colours(image: Image, alpha: Alpha8) -> Iterator[tuple[Part, Image | None]]:
    """Every part of the photo once, with the foreground's colours there; None is 0, where alpha is 0 too."""
    cell = min(-(-max(alpha.shape) // GRID), max(1, min(alpha.shape) // (ACROSS * TILE)))
    tiles = tiles_of(alpha, TILE * cell)
    band = tiles.band & ~tiles.faint
    around = (tiles.empty & _beside(~tiles.empty)) | tiles.faint
    yield from ((part, image[part]) for part in tiles.runs(tiles.solid))
    yield from ((part, None) for part in tiles.runs(tiles.empty & ~around))
    if not (band | around).any():
        return
    near, far = _mean_layers(image, alpha, cell, tiles.empty.shape)
    for part in tiles.runs(band):
        means = _enlarged(near, part, cell), _enlarged(far, part, cell)
        yield part, _unmixed(image[part], alpha[part], *means)
    for part in tiles.runs(around):
        yield part, _enlarged(near, part, cell).astype(np.uint8)


def _beside(chosen: Choice) -> Choice:
    """Chosen tiles and all eight neighbours of each."""
    return np.asarray(cv2.dilate(chosen.view(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def _mean_layers(image: Image, alpha: Alpha8, cell: int, tiles: tuple[int, ...]) -> tuple[Levels, Levels]:
    """Mean colours of foreground and background near each sample, with one more on all sides of `tiles` tiles."""
    rows, columns = (slice(min(cell // 2, side - 1), None, cell) for side in alpha.shape)
    samples, share = image[rows, columns], alpha[rows, columns]
    below, right = (1 + TILE * count - have for count, have in zip(tiles, share.shape, strict=True))

    def levels(layer: Alpha8) -> Levels:
        means = np.rint(mean_around(samples, layer, _window)).astype(np.int16)
        return np.asarray(cv2.copyMakeBorder(means, 1, below, 1, right, cv2.BORDER_REPLICATE), np.int16)

    return levels(share), levels(OPAQUE - share)


def _window(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (WIDE, WIDE)) + cv2.blur(plane, (NARROW, NARROW)), np.float32)


def _enlarged(means: Levels, part: Part, cell: int) -> Levels:
    """The `part` of `means` at the photo's size, bilinear."""
    rows, columns = (slice(each.start // cell, -(-each.stop // cell) + 2) for each in part)
    cut = means[rows, columns]
    large = cv2.resize(cut, (cut.shape[1] * cell, cut.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    high, wide = (each.stop - each.start for each in part)
    return np.asarray(large[cell : cell + high, cell : cell + wide], np.int16)


def _unmixed(image: Image, alpha: Alpha8, near: Levels, far: Levels) -> Image:
    """The equation of the module, in 16 bits: alpha in 128 steps times a difference of two levels just fits."""
    halves = (alpha.astype(np.uint16) + 1) >> 1
    share = np.asarray(cv2.cvtColor(halves, cv2.COLOR_GRAY2RGB)).view(np.int16)
    mixed = near - far
    mixed *= share
    mixed >>= 7
    mixed += far
    left = image.astype(np.int16)
    left -= mixed
    left *= share
    left >>= 7
    left += near
    return np.clip(left, 0, 255, out=left).astype(np.uint8)
