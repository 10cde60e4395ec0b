"""Estimate the person's own colours, so that no old background shines through the hair on a new one.

In: a photo uint8 `[H,W,3]` and its alpha uint8 `[H,W]`. Out: the foreground's colours, uint8 `[H,W,3]`, or `[H,W,4]`
with that alpha. Knows no bytes, no network and no HTTP.

A photo's pixel is I = αF + (1-α)B. As in blur fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP
2021), near each pixel the mean foreground F and background B come from its surroundings, and of what they leave
unexplained of the pixel, the foreground takes the share α:

    F = mean F + α (I - α mean F - (1-α) mean B)
      = α I + (1-α²) mean F - α(1-α) mean B

The second line is how it is calculated: three colours by their weights, which is what "premultiplying" a pixel by its
alpha does, in 8 bits.

Different from the paper (tests/bench/bench_foreground.py compares the two): one pass over two windows at once instead
of two passes; surely opaque pixels count far more than half transparent ones, whose colours are half the other
layer's; the means are taken on samples of the photo, since they vary slowly; and only the matte's edge is worked on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.tiles import OPAQUE, Choice, Part, Strips, Tiles, tiles_of
from model.kernels import COMPILED, Kind
from model.transforms import Alpha8, Image

GRID: Final = 256  # samples along the photo's longer side, at the most
WIDE, NARROW = 23, 3  # sides of the two windows, in samples
TILE: Final = 8  # width of a tile, in samples
# A tile is as many times as high, as long as that is no more than so many pixels. Lower ones follow the edge more
# closely, in more calls: threads that make many short ones keep each other waiting for Python's lock.
TIMES_HIGHER: Final = 4
HIGHEST: Final = 256
# Tiles across the shorter side, at the least: in a strip, samples as far apart as its length asks for would lie far
# outside of it, and one row of tiles would be all of it at once.
ACROSS: Final = 8

# By alpha in 0..255: the weights of the mean foreground and the mean background, of 255.
_SHARE: Final = np.arange(256) / OPAQUE
OF_FOREGROUND: Final = np.rint(OPAQUE * (1 - _SHARE**2)).astype(np.uint8)
OF_BACKGROUND: Final = np.rint(OPAQUE * _SHARE * (1 - _SHARE)).astype(np.uint8)

Layer = NDArray[np.uint8]  # colours `[h,w,4]`, whose fourth channel is for a weight
NO_LAYER: Final[Layer] = np.zeros((1, 1, 4), np.uint8)


def estimate_foreground(image: Image, alpha: Alpha8) -> Image:
    """The colours of `cut_out` alone, uint8 `[H,W,3]`."""
    foreground = np.empty_like(image)
    for rows, strip in cut_out(image, alpha).placed():
        cv2.cvtColor(strip, cv2.COLOR_RGBA2RGB, dst=foreground[rows])
    return foreground


def cut_out(image: Image, alpha: Alpha8) -> Strips:
    """The foreground's colours, see the module, and alpha, four channels. Where alpha is 255 they are the photo's.

    Where alpha is 0, nothing of the photo stays: near the person lies his own colour, smooth, so that who resizes or
    compresses colours without a look at alpha draws no dark edge; elsewhere 0, which costs a file next to nothing.
    """
    height, width = alpha.shape
    return Strips(height, width, 4, partial(_strips, image, alpha))


def _strips(image: Image, alpha: Alpha8) -> Iterator[Image]:
    """A row of tiles at a time."""
    image, alpha = np.ascontiguousarray(image), np.ascontiguousarray(alpha)
    cell = min(-(-max(alpha.shape) // GRID), max(1, min(alpha.shape) // (ACROSS * TILE)))
    wide = TILE * cell
    tiles = tiles_of(alpha, wide * max(1, min(TIMES_HIGHER, HIGHEST // wide)), wide)
    kinds = _kinds(tiles)
    layers = _mean_layers(image, alpha, cell, tiles) if (kinds >= Kind.EDGE).any() else (NO_LAYER, NO_LAYER)
    buffer = np.empty((tiles.high, alpha.shape[1], 4), np.uint8)
    for number, row in enumerate(kinds):
        rows = tiles.rows(number)
        strip = buffer[: rows.stop - rows.start]
        if COMPILED:
            COMPILED.cut_out(image, alpha, rows, row, *layers, cell, wide, strip)
        else:
            _paint(image, alpha, rows, tiles.runs_of_row(row), *layers, cell, strip)
        yield strip


def _kinds(tiles: Tiles) -> NDArray[np.uint8]:
    """What is to be done with each tile, as `Kind`."""
    around = (tiles.empty & _beside(~tiles.empty)) | tiles.faint
    kinds = np.full(tiles.empty.shape, Kind.EDGE, np.uint8)
    kinds[tiles.empty] = Kind.HIDDEN
    kinds[tiles.solid] = Kind.SOLID
    kinds[around] = Kind.AROUND
    return kinds


def _paint(
    image: Image,
    alpha: Alpha8,
    rows: slice,
    runs: Iterable[tuple[int, slice]],
    near: Layer,
    far: Layer,
    cell: int,
    strip: Image,
) -> None:
    """`Kernels.cut_out` without compiled code."""
    for kind, columns in runs:
        part, into = (rows, columns), strip[:, columns]
        if kind == Kind.HIDDEN:
            into[:] = 0
        elif kind == Kind.SOLID:
            cv2.cvtColor(image[part], cv2.COLOR_RGB2RGBA, dst=into)
        elif kind == Kind.EDGE:
            means = _enlarged(near, part, cell), _enlarged(far, part, cell)
            _unmix(image[part], alpha[part], *means, into=into)
        else:
            into[:] = _enlarged(near, part, cell)
            cv2.insertChannel(alpha[part], into, 3)


def _beside(chosen: Choice) -> Choice:
    """Chosen tiles and all eight neighbours of each."""
    return np.asarray(cv2.dilate(chosen.view(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def _mean_layers(image: Image, alpha: Alpha8, cell: int, tiles: Tiles) -> tuple[Layer, Layer]:
    """Mean colours of foreground and background near each sample, with one more on all sides of the tiles."""
    rows, columns = (slice(min(cell // 2, side - 1), None, cell) for side in alpha.shape)
    samples, share = image[rows, columns], alpha[rows, columns]
    down, across = tiles.empty.shape
    below, right = 1 + down * tiles.high // cell - share.shape[0], 1 + across * TILE - share.shape[1]

    def mean(weight: Alpha8) -> Layer:
        means = cv2.convertScaleAbs(mean_around(samples, weight, _window))
        wider = cv2.copyMakeBorder(means, 1, below, 1, right, cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(wider, cv2.COLOR_RGB2RGBA), np.uint8)

    return mean(share), mean(OPAQUE - share)


def _window(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (WIDE, WIDE)) + cv2.blur(plane, (NARROW, NARROW)), np.float32)


def _enlarged(means: Layer, part: Part, cell: int) -> Layer:
    """The `part` of `means` at `cell` times its size, bilinear."""
    rows, columns = (slice(each.start // cell, -(-each.stop // cell) + 2) for each in part)
    cut = means[rows, columns]
    large = cv2.resize(cut, (cut.shape[1] * cell, cut.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
    high, wide = (each.stop - each.start for each in part)
    return np.asarray(large[cell : cell + high, cell : cell + wide], np.uint8)


def _unmix(image: Image, alpha: Alpha8, near: Layer, far: Layer, *, into: Image) -> None:
    """The equation's second line."""
    own = _weighted(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), np.uint8), alpha)
    more = _weighted(near, np.asarray(cv2.LUT(alpha, OF_FOREGROUND), np.uint8))
    less = _weighted(far, np.asarray(cv2.LUT(alpha, OF_BACKGROUND), np.uint8))
    # In each place one of the differences is 0: only the last sum can reach the ends of the range, and stops there.
    cv2.subtract(cv2.add(own, cv2.subtract(more, less)), cv2.subtract(less, more), dst=into)
    cv2.insertChannel(alpha, into, 3)


def _weighted(colours: Layer, weight: Alpha8) -> Layer:
    """Colours times weight, of 255; the fourth channel of `colours` is used up."""
    cv2.insertChannel(weight, colours, 3)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGBA2mRGBA), np.uint8)


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
