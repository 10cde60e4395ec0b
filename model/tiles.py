"""Very wide and very tall photos in parts, which the network sees one by one, and their mattes as one again.

Stretched to a square, people in a row are a sixth as wide as they are; between bars they are a few pixels high. So a
photo that is longer than WHOLE_UP_TO to 1 is cut along its longer side into tiles that overlap by more than a person
is wide, and mattes go over into one another where they overlap. Knows nothing of files, of the network or of HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from model.transforms import Alpha8, Box

WHOLE_UP_TO: Final = 2.5
# In shorter sides: a tile is a photo of 3:2, of which a quarter is the next one's, too.
LENGTH: Final = 1.5
OVERLAP: Final = 0.375
TILES_MAX: Final = 8  # A photo that is even longer has longer tiles.
SHORT_MIN: Final = 32  # pixels of the shorter side of a photo that is worth cutting


def tiles(height: int, width: int) -> list[Box]:
    """The rows and columns of each tile of a photo of `height` x `width` pixels, along its longer side: a single
    one, the whole photo, where it is not that long."""
    long, short = max(height, width), min(height, width)
    if long <= WHOLE_UP_TO * short or short < SHORT_MIN:
        return [(slice(0, height), slice(0, width))]
    count = min(TILES_MAX, math.ceil((long / short - OVERLAP) / (LENGTH - OVERLAP)))
    length = math.ceil((long + (count - 1) * OVERLAP * short) / count)
    starts = np.linspace(0, long - length, count).round().astype(int).tolist()
    parts = [slice(start, start + length) for start in starts]
    across = slice(0, short)
    return [(across, part) if width > height else (part, across) for part in parts]


def joined(mattes: Sequence[Alpha8], boxes: Sequence[Box], height: int, width: int) -> Alpha8:
    """One matte uint8 `[height,width]` of the tiles'. Where two overlap, one fades into the other."""
    if len(mattes) == 1:
        return mattes[0]
    whole = np.empty((height, width), np.uint8)
    end = 0
    for matte, box in zip(mattes, boxes, strict=True):
        # Along the columns, by views of the arrays, whatever the photo's longer side is.
        flat, new = (whole, matte) if width > height else (whole.T, matte.T)
        along = box[1] if width > height else box[0]
        shared = end - along.start if end else 0
        if shared:
            share = (np.arange(shared, dtype=np.float32) + 0.5) / shared
            before = flat[:, along.start : end].astype(np.float32)
            mixed = before + (new[:, :shared] - before) * share
            flat[:, along.start : end] = np.rint(mixed).astype(np.uint8)
        flat[:, along.start + shared : along.stop] = new[:, shared:]
        end = along.stop
    return whole
