"""What a matte may cost, by name. Imports nothing, so that a command line can name it without loading the recipe."""

from __future__ import annotations

from enum import StrEnum


class Quality(StrEnum):
    """What a matte may cost: one run of the network, and edges at half the size of large photos; or two, and edges at
    the photo's own."""

    STANDARD = "standard"
    HIGH = "high"
