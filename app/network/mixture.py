"""Resizing along one axis as a matrix: a plane P of another size is R P Cᵀ, R for its rows and C for its columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mixture(before: int, after: int) -> NDArray[np.float32]:
    """`[after,before]`: what each of `after` places takes of each of `before`, bilinear with half-pixel centres."""
    places = np.maximum((np.arange(after) + 0.5) * before / after - 0.5, 0)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, before - 1)
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after), lower), 1 - (places - lower))
    np.add.at(matrix, (np.arange(after), upper), places - lower)
    return matrix
