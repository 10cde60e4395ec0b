"""A picture that is made and used a few rows at a time: so it stays in a core's cache, and is never whole in memory.

In and out: uint8 pixels. Knows no format and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from model.transforms import Image


@dataclass(frozen=True, slots=True)
class Strips:
    """`each()` gives all rows from top to bottom, uint8 `[h,W,C]` at a time, which hold until the next ones come."""

    height: int
    width: int
    channels: int
    each: Callable[[], Iterator[Image]] = field(repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """As of an array."""
        return self.height, self.width, self.channels

    def whole(self) -> Image:
        """The picture at once, uint8 `[H,W,C]`."""
        pixels = np.empty(self.shape, np.uint8)
        for rows, strip in self.placed():
            pixels[rows] = strip
        return pixels

    def placed(self) -> Iterator[tuple[slice, Image]]:
        """`each`, and which rows of the picture they are."""
        top = 0
        for strip in self.each():
            yield slice(top, top + len(strip)), strip
            top += len(strip)
