"""What is to become of a photo and its matte, chosen in full: one value of `Output`. Knows no pixels and no HTTP.

MATTE    the alpha itself, grey
CUTOUT   the person with it as alpha channel; everything else is an option of that
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.imaging.compose import Colour
from app.imaging.crop import Margins, Placement, Region

MEDIA_TYPES: Final = {
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "jpg": "image/jpeg",
    "zip": "application/zip",
}


class Format(StrEnum):
    """Of the file that is answered; `zip` holds color.jpg and alpha.png."""

    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    JPG = "jpg"
    ZIP = "zip"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self]


class Channels(StrEnum):
    """The person with alpha, or the alpha alone."""

    RGBA = "rgba"
    ALPHA = "alpha"


class Colours(StrEnum):
    """The photo's own, with its colour profile in the answer, or sRGB."""

    KEEP = "keep"
    SRGB = "srgb"


@dataclass(frozen=True, slots=True)
class Ground:
    """One colour as background, of sRGB, with its own alpha 0..255."""

    colour: Colour
    alpha: int = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """`background`: a colour, or a picture's file as bytes; `blur` 1..100: the photo itself, blurred, instead.

    `region`: outside of it nothing counts as person. `crop`: cut to the person with these margins. `placement`: the
    person at another size and place in the picture. `megapixels`: the most that the answer may have. `shadow` 0..100.
    """

    channels: Channels = Channels.RGBA
    format: Format = Format.PNG
    background: Ground | bytes | None = field(default=None, repr=False)
    blur: int | None = None
    region: Region | None = None
    crop: Margins | None = None
    placement: Placement | None = None
    megapixels: float | None = None
    shadow: int = 0
    colours: Colours = Colours.KEEP

    @property
    def bytes_per_pixel(self) -> int:
        """What a photo takes while it is inside, for each of its pixels: the photo itself; for a cut-out its alpha,
        and if that does not go into its file strip by strip, the person's own colours and the picture made of them.
        """
        if self.channels is Channels.ALPHA:
            return 3
        return 3 + 1 if self == CUTOUT else 3 + 3 + 4


MATTE: Final = Output(channels=Channels.ALPHA)
CUTOUT: Final = Output()
