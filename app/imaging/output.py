"""What is to become of a photo and its matte, chosen in full: one value of `Output`. Knows no pixels and no HTTP.

MATTE    the alpha itself, grey
CUTOUT   the person with it as alpha channel; everything else is an option of that
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from app.imaging.crop import Placement, Region
from app.options import CutoutOptions


class Channels(StrEnum):
    """The person with alpha, or the alpha alone."""

    RGBA = "rgba"
    ALPHA = "alpha"


class Output(CutoutOptions):
    """The options of a cut-out, and what remove.bg's clients may choose besides.

    `region`: outside of it nothing counts as person. `placement`: the person at another size and place.
    """

    channels: Channels = Channels.RGBA
    region: Region | None = None
    placement: Placement | None = None

    @property
    def is_plain(self) -> bool:
        """Whether what is answered is the alpha or the cut-out as it is. What it may cost, and whose it is, changes
        nothing of that."""
        return self.changed().keys() <= {"quality", "model", "subject", "channels"}

    @property
    def is_matte(self) -> bool:
        """Whether it is what POST /v1/matte answers: no colours are needed."""
        return self.channels is Channels.ALPHA and self.is_plain

    @property
    def bytes_per_pixel(self) -> int:
        """What a photo takes while it is inside, for each of its pixels: the photo itself; for a cut-out its alpha,
        and if that does not go into its file strip by strip, the person's own colours and the picture made of them.
        """
        if self.channels is Channels.ALPHA:
            return 3
        return 3 + 1 if self.is_plain else 3 + 3 + 4


MATTE: Final = Output(channels=Channels.ALPHA)
CUTOUT: Final = Output()
