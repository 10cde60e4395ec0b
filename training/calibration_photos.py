"""Photos as the network sees them, a few dozen, to measure on what training and 8 bits need to know of it.

In: a folder of photos as people send them. Out: batches uint8 `[N,S,S,3]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.transforms import to_model_input
from training.dataset import pictures_in
from training.images import read_image

PHOTOS: Final = 32
BATCH: Final = 4
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})

Squares = NDArray[np.uint8]


class PhotosError(ValueError):
    """The folder holds no photos; the message says what was looked for."""


def photos_in(folder: Path) -> list[Path]:
    """Up to PHOTOS photos of a folder, spread over their sorted names. Raises PhotosError if there is none."""
    if not folder.is_dir():
        raise PhotosError(f"{folder}: no such folder of photos")
    found = pictures_in(folder, tuple(SUFFIXES))
    if not found:
        raise PhotosError(
            f"{folder}: holds no photo ({', '.join(sorted(SUFFIXES))}); give a folder of some dozen"
        )
    places = np.linspace(0, len(found) - 1, min(PHOTOS, len(found))).round().astype(int)
    return [found[place] for place in places]


def squares(photos: Sequence[Path], size: int, geometry: str) -> Iterator[Squares]:
    """Batches of photos as the service shows them to the network. Raises ImageError."""
    for i in range(0, len(photos), BATCH):
        yield np.stack([to_model_input(read_image(path), size, geometry) for path in photos[i : i + BATCH]])
