"""What a decoder is to see of a photo's file, and what the file says of its picture. Knows no format and no pixel.

Each of `heif_file`, `tiff_file`, `bmp_file` and `gif_file` reads a file in bounded steps and gives a `PictureFile`:
the picture alone, written anew, so that no decoder follows what a stranger wrote beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

Density = tuple[float, float]
"""Dots per inch, across and down."""

DENSITY_MAX: Final = 65_535  # what a JPEG can say
PER_INCH: Final = {"inch": 1.0, "cm": 2.54, "m": 0.0254}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFile:
    """`width` and `height` as they are stored, of what is shown; `decoded`: (width, height) that the decoder makes,
    where it makes more, and `crop`: the rows and columns of it that are shown.

    `orientation`: as EXIF counts, of the decoder's pixels. `profile`: ICC, as the file holds it, valid or not.
    `exif`: a block whose orientation does not count.
    """

    width: int
    height: int
    pieces: Sequence[bytes | memoryview] = field(repr=False)
    decoded: tuple[int, int] | None = None
    crop: tuple[slice, slice] | None = None
    orientation: int = 1
    profile: bytes | None = field(default=None, repr=False)
    density: Density | None = None
    exif: bytes | None = field(default=None, repr=False)
    frames: int = 1
    transparent: bool = False

    @property
    def data(self) -> bytes:
        """The file for the decoder."""
        return b"".join(self.pieces)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(width, height) of the decoder's pixels."""
        return self.decoded or (self.width, self.height)


def density(across: float, down: float, unit: str) -> Density | None:
    """Of so many dots in each `unit`, "inch", "cm" or "m"; None where they say nothing."""
    dots = across * PER_INCH[unit], down * PER_INCH[unit]
    return dots if all(1 <= each <= DENSITY_MAX for each in dots) else None
