"""The part of a validation picture that is scored: the whole, or a crop that stands for photos the split has none of.

In: image uint8 `[H,W,3]`, alpha float32 `[H,W]` and perhaps a trimap uint8 `[H,W]`. Out: the same, cropped; None
where the picture has no such part.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

LANDSCAPE: Final = 4 / 3  # width to height
NOBODY_ALPHA_MAX: Final = 0.02
NOBODY_AREA_MIN: Final = 0.15  # of the picture: smaller strips are walls and sky


class Crop(StrEnum):
    """`landscape`: the upper part, as wide as the picture, in 4:3. `nobody`: the largest strip beside or above the
    people; its true matte is empty."""

    WHOLE = "whole"
    LANDSCAPE = "landscape"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture to score: image uint8 `[H,W,3]`, alpha float32 `[H,W]`, trimap uint8 `[H,W]` or None."""

    image: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    trimap: NDArray[np.uint8] | None = None

    def part(self, rows: slice, columns: slice) -> Sample:
        box = (rows, columns)
        trimap = None if self.trimap is None else self.trimap[box]
        return Sample(np.ascontiguousarray(self.image[box]), self.alpha[box], trimap)


def crop_sample(sample: Sample, crop: Crop) -> Sample | None:
    """Crop a sample; None where it has no such part."""
    height, width = sample.alpha.shape
    if crop is Crop.WHOLE:
        return sample
    if crop is Crop.LANDSCAPE:
        return sample.part(slice(0, min(height, round(width / LANDSCAPE))), slice(0, width))
    strip = _strip_without_people(sample.alpha)
    return None if strip is None else sample.part(*strip)


def _strip_without_people(alpha: NDArray[np.float32]) -> tuple[slice, slice] | None:
    """The largest of the strips left of, right of and above all people."""
    height, width = alpha.shape
    people = alpha >= NOBODY_ALPHA_MAX
    if not people.any():
        return slice(0, height), slice(0, width)
    columns, rows = np.flatnonzero(people.any(axis=0)), np.flatnonzero(people.any(axis=1))
    strips = [
        (slice(0, height), slice(0, int(columns[0]))),
        (slice(0, height), slice(int(columns[-1]) + 1, width)),
        (slice(0, int(rows[0])), slice(0, width)),
    ]
    largest = max(strips, key=_area)
    return largest if _area(largest) >= NOBODY_AREA_MIN * height * width else None


def _area(box: tuple[slice, slice]) -> int:
    rows, columns = box
    return int((rows.stop - rows.start) * (columns.stop - columns.start))
