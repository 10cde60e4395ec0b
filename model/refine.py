"""The matte's edge at the photo's own resolution, used by the service and by the evaluation.

In: the photo uint8 `[H,W,3]` RGB, the network's square of it uint8 `[S,S,3]`, and the network's alpha of that square,
float32 `[S,S]` in 0..1. Out: the matte uint8 `[H,W]`, 255 is 1. Knows nothing of files, of the network or of HTTP.

A fast guided filter (He & Sun, "Fast Guided Filter", arXiv:1505.00996; colour guide as in He, Sun & Tang, "Guided
Image Filtering", TPAMI 2013, Eq. 19-21): around each pixel of the square alpha is fitted as a linear function of
colour, the fit's coefficients are enlarged instead of the alpha, and the photo's own pixels go in. It is blended in
only where the network itself is undecided, so that flat areas stay as the network gave them, and cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.kernels import COMPILED, Coefficients, Mask
from model.transforms import Alpha, Alpha8, Image, stretch, to_8_bits

RADIUS: Final = 4  # of the fit's window, in pixels of the square; model/kernels.c has it, too
EPSILON: Final = 1e-4  # what colour must vary, of 1, squared, to be trusted
UNDECIDED: Final = (0.02, 0.98)  # alpha between these makes the band

Plane = NDArray[Any]  # `[S,S]` float32


def refine(image: Image, square: Image, alpha: Alpha) -> Alpha8:
    """See the module. A photo no larger than the square in both axes gains nothing and is only resized."""
    height, width = image.shape[:2]
    refined = stretch(to_8_bits(alpha), height, width)
    undecided = _undecided(alpha)
    if not undecided.any() or (height <= alpha.shape[0] and width <= alpha.shape[1]):
        return refined
    if COMPILED:
        coefficients = COMPILED.fit_to_colour(square, alpha, undecided, EPSILON)
        COMPILED.follow_colour(image, coefficients, undecided, refined)
    else:
        coefficients = fit_to_colour(square, alpha, undecided)
        follow_colour(image, coefficients, undecided, refined)
    return refined


def _undecided(alpha: Alpha) -> Mask:
    """Which pixels of the square take the guided alpha; enlarging makes a ramp of a pixel to those that do not. A
    wider band lets a haze of the fit's windows out into flat areas, and is farther from real mattes in every metric
    (`python -m training evaluate`)."""
    low, high = UNDECIDED
    return np.asarray((alpha > low) & (alpha < high))


# What follows does without compiled code the same as kernels.c does.

# Rows of the photo that are refined together. Fewer follow the band more closely, in more calls, and threads that
# make many short calls keep each other waiting for Python's lock: with 64 two did 1.2 times as much as one.
STRIP: Final = 256
WIDEST: Final = 512  # columns of the photo that are refined together: more do not fit into a core's cache
JOINED: Final = 8  # columns of the square between two pieces of the band that are refined together
FOUR: Final = np.ones(4, np.float32)


def fit_to_colour(square: Image, alpha: Alpha, undecided: Mask) -> Coefficients:
    """Alpha as a linear function of colour, in the window around each pixel of the square that is undecided; of the
    others alpha as it is, which is an offset without a slope."""
    # Colours around zero: what is left of their products after the means' products are taken off is more exact.
    colours = [
        plane.astype(np.float32) * np.float32(1 / 255) - np.float32(0.5) for plane in cv2.split(square)
    ]
    means, mean_alpha = [_window_mean(colour) for colour in colours], _window_mean(alpha)
    with_alpha = [
        _window_mean(colour * alpha) - mean * mean_alpha for colour, mean in zip(colours, means, strict=True)
    ]
    slopes = _solve_symmetric(_covariance(colours, means), with_alpha)
    offset = mean_alpha
    for slope, mean in zip(slopes, means, strict=True):
        offset = offset - slope * (mean + np.float32(0.5))
    coefficients = _window_mean(cv2.merge([*slopes, offset]))
    decided = ~undecided
    coefficients[decided] = 0
    coefficients[decided, 3] = alpha[decided]
    return coefficients


def follow_colour(image: Image, coefficients: Coefficients, undecided: Mask, refined: Alpha8) -> None:
    """Write to `refined` what the enlarged `coefficients` make of the photo's colours, near what is undecided."""
    height, width = refined.shape
    for rows, columns in _pieces_of(undecided, height, width):
        enlarged = _enlarged(coefficients, rows, columns, height, width)
        refined[rows, columns] = _alpha_of(image[rows, columns], enlarged)


def _covariance(colours: Sequence[Plane], means: Sequence[Plane]) -> Sequence[Plane]:
    """The six different entries rr rg rb gg gb bb of each window's covariance, EPSILON added on the diagonal."""
    entries = []
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        entry = _window_mean(colours[i] * colours[j]) - means[i] * means[j]
        entries.append(entry + np.float32(EPSILON) if i == j else entry)
    return entries


def _solve_symmetric(matrix: Sequence[Plane], right: Sequence[Plane]) -> Sequence[Plane]:
    """`x` of `A x = b` by A = L D Lᵀ, which float32 bears and Cramer's rule does not; A as `_covariance` gives it."""
    rr, rg, rb, gg, gb, bb = matrix
    r, g, b = right
    l21, l31 = rg / rr, rb / rr
    d2, rest = gg - l21 * rg, gb - l21 * rb
    l32 = rest / d2
    d3 = bb - l31 * rb - l32 * rest
    y2 = g - l21 * r
    y3 = b - l31 * r - l32 * y2
    x3 = y3 / d3
    x2 = y2 / d2 - l32 * x3
    return [r / rr - l21 * x2 - l31 * x3, x2, x3]


def _window_mean(pixels: Plane) -> Plane:
    """Mean over the square window of RADIUS."""
    side = 2 * RADIUS + 1
    return np.asarray(cv2.blur(pixels, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _pieces_of(undecided: Mask, height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles of the photo, STRIP rows high, that hold all of the band and little else."""
    high, wide = undecided.shape
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        near = undecided[max(0, top * high // height - 1) : bottom * high // height + 2]
        for first, last in _runs(np.asarray(near.any(axis=0))):
            # Enlarged, a pixel of the square reaches to its neighbours' middles.
            left = max(0, math.floor((first - 0.5) * width / wide - 0.5))
            right = min(math.ceil((last + 0.5) * width / wide + 0.5), width)
            for start in range(left, right, WIDEST):
                yield slice(top, bottom), slice(start, min(start + WIDEST, right))


def _runs(inside: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of each run of True; runs with less than JOINED between them are one."""
    places = np.flatnonzero(inside)
    if len(places):
        gaps = np.flatnonzero(np.diff(places) > JOINED)
        yield from zip(places[[0, *(gaps + 1)]].tolist(), (places[[*gaps, -1]] + 1).tolist(), strict=True)


def _alpha_of(pixels: Image, coefficients: Coefficients) -> Alpha8:
    """Slope · colour + offset, in 0..255 as the colours are."""
    # Red, green, blue and 255, times slopes and offset. The sum of the four by a product of matrices takes a quarter
    # of the time that OpenCV's or NumPy's sums over channels do; they are too small for BLAS to start threads.
    products = cv2.multiply(coefficients, cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA), dtype=cv2.CV_32F)
    levels = np.maximum(products @ FOUR, 0)
    return np.asarray(cv2.convertScaleAbs(levels), np.uint8)  # rounded, and 255 at the most


def _enlarged(
    coefficients: Coefficients, rows: slice, columns: slice, height: int, width: int
) -> Coefficients:
    """A piece of what `coefficients` `[S,S,…]` are at the photo's size: bilinear, half-pixel centres."""
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
