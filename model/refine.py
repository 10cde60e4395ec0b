"""The matte's edge at the photo's own resolution, used by the service and by the evaluation.

In: the photo uint8 `[H,W,3]` RGB, the network's square of it uint8 `[S,S,3]`, and the network's alpha of that square,
float32 `[S,S]` in 0..1. Out: the matte uint8 `[H,W]`, 255 is 1. Knows nothing of files, of the network or of HTTP.

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

from model.transforms import Alpha, Alpha8, Image, stretch, to_8_bits

RADIUS: Final = 4  # of the fit's window, in pixels of the square
EPSILON: Final = 1e-4  # what colour must vary, of 1, squared, to be trusted
UNDECIDED: Final = (0.02, 0.98)  # alpha between these makes the band
TILE: Final = 64  # side in pixels of the photo: tiles without a piece of the band are not touched

CHANNEL_SUM: Final = np.ones((1, 4), np.float32)

# `[S,S,4]` float32: alpha near each pixel is slope · (red, green, blue) + offset, colours in 0..1.
Coefficients = NDArray[np.float32]


def refine(image: Image, square: Image, alpha: Alpha) -> Alpha8:
    """See the module. A photo no larger than the square in both axes gains nothing and is only resized."""
    height, width = image.shape[:2]
    refined = stretch(to_8_bits(alpha), height, width)
    weight = _band(alpha)
    if not weight.any() or (height <= alpha.shape[0] and width <= alpha.shape[1]):
        return refined
    coefficients = _blended(fit_to_colour(square, alpha, weight > 0), alpha, weight)
    for rows, columns in _tiles_of(weight, height, width):
        # Red, green, blue and 255, times slope and offset: alpha in 0..255.
        pixels = cv2.cvtColor(image[rows, columns], cv2.COLOR_RGB2RGBA)
        products = cv2.multiply(
            _enlarged(coefficients, rows, columns, height, width), pixels, dtype=cv2.CV_32F
        )
        levels = np.maximum(cv2.transform(products, CHANNEL_SUM), 0)
        refined[rows, columns] = cv2.convertScaleAbs(levels)  # rounded, and 255 at the most
    return refined


def fit_to_colour(square: Image, alpha: Alpha, where: NDArray[np.bool_]) -> Coefficients:
    """The fit at the pixels `where`; elsewhere it may be anything."""
    window = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
    near = cv2.dilate(where.view(np.uint8), window) > 0  # what a window of `where` reaches
    guide = square.astype(np.float32) * np.float32(1 / 255)
    mean, mean_alpha = _window_mean(guide)[near], _window_mean(alpha)[near]
    covariance = _window_mean(guide * alpha[..., None])[near] - mean * mean_alpha[:, None]
    fit = np.empty((len(mean), 4), np.float32)
    fit[:, :3] = _solve_symmetric(_colour_covariance(guide, mean, near), covariance)
    fit[:, 3] = mean_alpha - (fit[:, :3] * mean).sum(axis=1)
    coefficients = np.zeros((*alpha.shape, 4), np.float32)
    coefficients[near] = fit
    return _window_mean(coefficients)


def _blended(fit: Coefficients, alpha: Alpha, weight: NDArray[np.float32]) -> Coefficients:
    """The fit by its weight, and for the rest the alpha as it is, which is an offset without a slope."""
    blended = fit * weight[..., None]
    blended[..., 3] += (1 - weight) * alpha
    return blended


def _colour_covariance(
    guide: NDArray[np.float32], mean: NDArray[np.float32], near: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The six different entries rr rg rb gg gb bb of each window's covariance, EPSILON on the diagonal: `[N,6]` at
    the N pixels `near`, whose window means are `mean` `[N,3]`."""
    red, green, blue = cv2.split(guide)
    products = ([red * red, red * green, red * blue], [green * green, green * blue, blue * blue])
    covariance = np.concatenate([_window_mean(np.dstack(each))[near] for each in products], axis=1)
    covariance -= mean[:, [0, 0, 0, 1, 1, 2]] * mean[:, [0, 1, 2, 1, 2, 2]]
    covariance[:, [0, 3, 5]] += EPSILON
    return covariance.astype(np.float64)


def _solve_symmetric(matrix: NDArray[np.float64], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """`x` `[N,3]` of `A x = b` by Cramer's rule; A as `_colour_covariance` gives it, b `[N,3]`."""
    rr, rg, rb, gg, gb, bb = matrix.T
    inverse = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - rb * gg, rb * rg - rr * gb, rr * gg - rg * rg],
    ]
    determinant = rr * inverse[0][0] + rg * inverse[1][0] + rb * inverse[2][0]
    rows = [sum(row[i] * right[:, i] for i in range(3)) / determinant for row in inverse]
    return np.stack(rows, axis=1)


def _window_mean(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the square window of RADIUS."""
    side = 2 * RADIUS + 1
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
