"""Loops over single pixels that neither NumPy nor OpenCV has, compiled from kernels.c when the package is installed.

In and out: NumPy arrays. `COMPILED` is None where there was no C compiler: then `model.refine` and
`app.imaging.foreground` do the same by OpenCV, in about three times the CPU time. No function holds Python's lock
while it works, so that threads which refine and cut out do not wait for one another. Knows nothing of files, of the
network or of HTTP.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.transforms import Alpha, Alpha8, Image

Coefficients = NDArray[Any]  # `[S,S,4]` float32: alpha near each pixel is slope · (red, green, blue) + offset
Mask = NDArray[np.bool_]

_POINTER: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int


class Kind(IntEnum):
    """What `Kernels.cut_out` is to do with a tile: nothing of the photo, all of it, its edge, or only the person's
    colour where nothing is to be seen."""

    HIDDEN = 0
    SOLID = 1
    EDGE = 2
    AROUND = 3


class Kernels:
    """The functions of the compiled library. Each raises ValueError for arrays that do not fit together."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        self._fit_scratch = _typed(library.fit_scratch, _INT, _INT, gives=ctypes.c_size_t)
        self._fit = _typed(
            library.fit_to_colour, *(3 * [_POINTER]), _INT, _INT, ctypes.c_float, _POINTER, _POINTER
        )
        self._follow = _typed(library.follow_colour, *(3 * [_POINTER]), *(4 * [_INT]), _POINTER, _POINTER)
        self._cut_out_scratch = _typed(library.cut_out_scratch, _INT, _INT, gives=ctypes.c_size_t)
        self._cut_out = _typed(
            library.cut_out,
            *(_POINTER, _POINTER, _INT, _INT, _INT),  # photo, alpha, and which rows
            *(_POINTER, _INT),  # tiles
            *(_POINTER, _POINTER, _INT, _INT),  # means
            *(_POINTER, _POINTER),
        )

    def fit_to_colour(self, square: Image, alpha: Alpha, undecided: Mask, epsilon: float) -> Coefficients:
        """Of uint8 `[S,S,3]` and float32 `[S,S]`: alpha as a linear function of colour where it is undecided, and as
        an offset elsewhere. As `model.refine` does it."""
        high, wide = alpha.shape
        square, alpha = (
            _laid_out(square, (high, wide, 3), np.uint8),
            _laid_out(alpha, alpha.shape, np.float32),
        )
        undecided = _laid_out(undecided, alpha.shape, np.bool_)
        coefficients = np.empty((high, wide, 4), np.float32)
        scratch = np.empty(self._fit_scratch(high, wide), np.float32)
        self._fit(*_at(square, alpha, undecided), high, wide, epsilon, *_at(coefficients, scratch))
        return coefficients

    def follow_colour(
        self, image: Image, coefficients: Coefficients, undecided: Mask, refined: Alpha8
    ) -> None:
        """Write to `refined`, uint8 `[H,W]`, what the enlarged `coefficients` make of the photo, uint8 `[H,W,3]`:
        near the pixels of the square that are undecided, and nowhere else."""
        (high, wide), (height, width) = undecided.shape, refined.shape
        image, undecided = _laid_out(image, (height, width, 3), np.uint8), np.ascontiguousarray(undecided)
        coefficients = _laid_out(coefficients, (high, wide, 4), np.float32)
        line = np.empty((wide, 4), np.float32)
        self._follow(
            *_at(image, coefficients, undecided),
            *(high, wide, height, width),
            *_at(_written(refined, refined.shape), line),
        )

    def cut_out(
        self,
        image: Image,
        alpha: Alpha8,
        rows: slice,
        kinds: NDArray[np.uint8],
        near: Image,
        far: Image,
        cell: int,
        tile: int,
        into: Image,
    ) -> None:
        """Write to `into`, uint8 `[h,W,4]`, these rows of the person's colours and alpha.

        They lie in one row of tiles, `tile` pixels wide, of these `kinds`. `near` and `far`, uint8 `[h,w,4]`: the
        mean colours of foreground and background for each `cell` pixels, from one sample before the photo's first on.
        """
        height, width = alpha.shape
        image, alpha = _laid_out(image, (height, width, 3), np.uint8), _laid_out(alpha, alpha.shape, np.uint8)
        near, far = _laid_out(near, near.shape, np.uint8), _laid_out(far, near.shape, np.uint8)
        kinds = _laid_out(kinds, (-(-width // tile),), np.uint8)
        if not 0 <= rows.start <= rows.stop <= height:
            raise ValueError(f"rows {rows.start} to {rows.stop} of a photo of {height}")
        samples = -(-rows.stop // cell) + 2, -(-width // cell) + 2
        if (kinds >= Kind.EDGE).any() and (near.shape[0] < samples[0] or near.shape[1] < samples[1]):
            raise ValueError(f"{near.shape[:2]} samples instead of {samples}")
        scratch = np.empty(self._cut_out_scratch(width, cell), np.uint8)
        into = _written(into, (rows.stop - rows.start, width, 4))
        self._cut_out(
            *(*_at(image, alpha), rows.start, rows.stop - rows.start, width),
            *(*_at(kinds), tile),
            *(*_at(near, far), near.shape[1], cell),
            *_at(into, scratch),
        )


def _typed(function: Any, *takes: Any, gives: Any = None) -> Any:
    function.argtypes, function.restype = takes, gives
    return function


def _at(*arrays: NDArray[Any]) -> list[int]:
    return [array.ctypes.data for array in arrays]


def _laid_out(array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """Without gaps, copied if need be."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{array.dtype} {list(array.shape)} instead of {np.dtype(dtype)} {list(shape)}")
    return np.ascontiguousarray(array)


def _written(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if _laid_out(array, shape, np.uint8) is not array:
        raise ValueError("what is written to must be without gaps")
    return array


def load() -> Kernels | None:
    """None where it was not built, or for another machine."""
    found = find_spec("model._kernels")
    try:
        return Kernels(found.origin) if found and found.origin else None
    except (OSError, AttributeError):
        return None


COMPILED: Final = load()
