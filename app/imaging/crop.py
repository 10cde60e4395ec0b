"""How much of a photo the answer shows, and at what size.

In: alpha uint8 `[H,W]`, margins, sizes. Out: boxes and sizes in pixels. Knows no colours and no HTTP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.values import Length, Margins
from model.transforms import Alpha8

# Alpha from here on belongs to the foreground's box: 3 %, under which a pixel can't be told from its background.
VISIBLE: Final = 8


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in pixels from its upper left corner."""

    top: int
    left: int
    height: int
    width: int

    @property
    def part(self) -> tuple[slice, slice]:
        """Its rows and columns: `pixels[box.part]`."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def foreground_box(alpha: Alpha8, threshold: int = VISIBLE) -> Box | None:
    """The smallest box around all pixels whose alpha is `threshold` or more; None where there is none."""
    rows = np.flatnonzero(alpha.max(axis=1) >= threshold)
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(alpha[top:bottom].max(axis=0) >= threshold)
    left, right = int(columns[0]), int(columns[-1]) + 1
    return Box(top, left, bottom - top, right - left)


def with_margins(box: Box, margins: Margins, height: int, width: int) -> Box:
    """The box and its margins, as far as they lie in a picture of `height` x `width`."""
    top = max(0, box.top - margins.top.pixels(box.height))
    left = max(0, box.left - margins.left.pixels(box.width))
    bottom = min(height, box.top + box.height + margins.bottom.pixels(box.height))
    right = min(width, box.left + box.width + margins.right.pixels(box.width))
    return Box(top, left, bottom - top, right - left)


def limit_pixels(height: int, width: int, megapixels: float) -> tuple[int, int]:
    """(height, width) of at most `megapixels` million pixels, in the same shape as far as one pixel is not too much;
    never larger than it was, and at least one pixel."""
    most = megapixels * 1e6
    factor = math.sqrt(most / (height * width))
    if factor >= 1:
        return height, width
    high, wide = max(1, int(height * factor)), max(1, int(width * factor))
    return min(high, max(1, int(most / wide))), min(wide, max(1, int(most / high)))


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a photo in which the person is."""

    left: Length
    top: Length
    right: Length
    bottom: Length

    @classmethod
    def parse(cls, text: str) -> Region:
        """From the corners `x1 y1 x2 y2`, each as `10%` or `20px`. Raises ValueError."""
        lengths = [Length.parse(word) for word in text.split()]
        if len(lengths) != 4:
            raise ValueError("a region is two corners, x1 y1 x2 y2")
        return cls(*lengths)

    def box(self, height: int, width: int) -> Box:
        """In a picture of `height` x `width`. Raises IndexError if it leaves that, ValueError if it has no area."""
        left, right = (each.pixels(width) for each in (self.left, self.right))
        top, bottom = (each.pixels(height) for each in (self.top, self.bottom))
        if right > width or bottom > height:
            raise IndexError(f"The region ends at {right} x {bottom} of {width} x {height} pixels")
        if right <= left or bottom <= top:
            raise ValueError("The region has no area")
        return Box(top, left, bottom - top, right - left)


@dataclass(frozen=True, slots=True)
class Placement:
    """How large the person is in the picture and where: `scale` in hundredths of the largest that fits, None as he
    is; `left` and `top` in hundredths of the space around him, None: his middle stays where it is."""

    scale: float | None = None
    left: float | None = None
    top: float | None = None

    def box(self, person: Box, height: int, width: int) -> Box:
        """Where `person` comes to lie in a picture of `height` x `width`, which he does not leave."""
        fitting = min(height / person.height, width / person.width)
        factor = 1.0 if self.scale is None else fitting * self.scale / 100
        factor = min(factor, fitting)
        high, wide = max(1, round(person.height * factor)), max(1, round(person.width * factor))
        return Box(
            _placed(self.top, person.top, person.height, high, height),
            _placed(self.left, person.left, person.width, wide, width),
            high,
            wide,
        )


def _placed(percent: float | None, start: int, length: int, new_length: int, side: int) -> int:
    """Where something of `new_length` begins on a side, by the space around it or by its old middle."""
    space = side - new_length
    asked = start + (length - new_length) / 2 if percent is None else space * percent / 100
    return min(max(0, round(asked)), space)
