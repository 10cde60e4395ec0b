"""The matte's edge at the photo's own resolution, used by the service and by the evaluation.

In: the photo uint8 `[H,W,3]` RGB, the network's square of it uint8 `[S,S,3]`, and the network's alpha of that square,
float32 `[S,S]` in 0..1. Out: alpha float32 `[H,W]` in 0..1. Knows nothing of files, of the network or of HTTP.

A fast guided filter (He & Sun, "Fast Guided Filter", arXiv:1505.00996; colour guide as in He, Sun & Tang, "Guided
Image Filtering", TPAMI 2013, Eq. 19-21): around each pixel of the square alpha is fitted as a linear function of
colour, the fit's coefficients are enlarged instead of the alpha, and the photo's own pixels go in. It is blended in
only where the network itself is undecided, so that flat areas stay as the network gave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.transforms import Alpha, Image, stretch

RADIUS: Final = 4  # of the fit's window, in pixels of the square
EPSILON: Final = 1e-4  # what colour must vary, of 1, squared, to be trusted
UNDECIDED: Final = (0.02, 0.98)  # alpha between these makes the band
TILE: Final = 128  # side in pixels of the photo: tiles without a piece of the band are not touched

CHANNEL_SUM: Final = np.ones((1, 3), np.float32)

Coefficients = NDArray[np.float32]


def refine(image: Image, square: Image, alpha: Alpha) -> Alpha:
    """See the module. A photo no larger than the square in both axes gains nothing and is only resized."""
    height, width = image.shape[:2]
    refined = stretch(alpha, height, width)
    weight = _band(alpha)
    if not weight.any() or (height <= alpha.shape[0] and width <= alpha.shape[1]):
        return refined
    slope, offset = fit_to_colour(square, alpha)
    for rows, columns in _tiles_of(weight, height, width):
        slopes, offsets, weights = (
            _enlarged(each, rows, columns, height, width) for each in (slope, offset, weight)
        )
        products = cv2.multiply(slopes, image[rows, columns], dtype=cv2.CV_32F)
        guided = np.asarray(cv2.transform(products, CHANNEL_SUM), np.float32) + offsets
        np.clip(guided, 0, 1, out=guided)
        tile = refined[rows, columns]
        tile += weights * (guided - tile)
    return refined


def fit_to_colour(square: Image, alpha: Alpha) -> tuple[Coefficients, Coefficients]:
    """`slope` `[h,w,3]` and `offset` `[h,w]`: alpha near each pixel is `slope · colour + offset`, colour 0..255."""
    guide = square.astype(np.float32) / np.float32(255)
    mean, mean_alpha = _window_mean(guide), _window_mean(alpha)
    covariance = _window_mean(guide * alpha[..., None]) - mean * mean_alpha[..., None]
    slope = _solve_symmetric(_colour_covariance(guide, mean), covariance)
    offset = mean_alpha - (slope * mean).sum(axis=2)
    return _window_mean(slope / np.float32(255)), _window_mean(offset)


def _colour_covariance(guide: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """The six different entries rr rg rb gg gb bb of each window's covariance, EPSILON on the diagonal: `[S,S,6]`."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = np.dstack([guide[..., i] * guide[..., j] for i, j in pairs])
    means = np.dstack([mean[..., i] * mean[..., j] for i, j in pairs])
    regular = np.array([EPSILON if i == j else 0 for i, j in pairs], np.float32)
    return _window_mean(products) - means + regular


def _solve_symmetric(matrix: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """`x` of `A x = b` at each pixel by Cramer's rule; A as `_colour_covariance` gives it, b `[S,S,3]`."""
    rr, rg, rb, gg, gb, bb = (matrix[..., i].astype(np.float64) for i in range(6))
    inverse = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - rb * gg, rb * rg - rr * gb, rr * gg - rg * rg],
    ]
    determinant = rr * inverse[0][0] + rg * inverse[1][0] + rb * inverse[2][0]
    rows = [sum(row[i] * right[..., i] for i in range(3)) / determinant for row in inverse]
    return np.dstack(rows).astype(np.float32)


def _window_mean(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the square window of RADIUS; OpenCV filters at most four channels at once."""
    side = 2 * RADIUS + 1
    if pixels.ndim == 3 and pixels.shape[2] > 4:
        return np.dstack([_window_mean(pixels[..., :3]), _window_mean(pixels[..., 3:])])
    return np.asarray(cv2.blur(pixels, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _band(alpha: Alpha) -> NDArray[np.float32]:
    """How much of the guided alpha each pixel of the square takes: 1 where undecided, 0 elsewhere, between the two a
    pixel's ramp. A wider band lets a haze of the fit's windows out into flat areas (tests/bench/bench_refine.py)."""
    low, high = UNDECIDED
    undecided = ((alpha > low) & (alpha < high)).astype(np.float32)
    return np.asarray(cv2.blur(undecided, (3, 3)), np.float32)


def _tiles_of(weight: NDArray[np.float32], height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The photo's tiles that the band touches."""
    high, wide = weight.shape
    for top in range(0, height, TILE):
        bottom = min(top + TILE, height)
        rows = slice(max(0, top * high // height - 1), bottom * high // height + 2)
        for left in range(0, width, TILE):
            right = min(left + TILE, width)
            columns = slice(max(0, left * wide // width - 1), right * wide // width + 2)
            if weight[rows, columns].any():
                yield slice(top, bottom), slice(left, right)


def _enlarged(
    coefficients: Coefficients, rows: slice, columns: slice, height: int, width: int
) -> Coefficients:
    """One tile of what `coefficients` `[S,S,…]` are at the photo's size: bilinear, half-pixel centres."""
    high, wide = coefficients.shape[:2]
    y_scale, x_scale = high / height, wide / width
    to_square = np.array(
        [
            [x_scale, 0, (columns.start + 0.5) * x_scale - 0.5],
            [0, y_scale, (rows.start + 0.5) * y_scale - 0.5],
        ]
    )
    size = (columns.stop - columns.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(coefficients, to_square, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, np.float32)
