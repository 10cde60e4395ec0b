"""What values of options are and how people write them: colours, lengths, numbers, truth. Knows no option, no HTTP.

What reads a text raises ValueError where it means nothing. It is narrower than int() and float(), which also read
other scripts' digits, 1_0, nan and inf. The patterns are for OpenAPI and of the canonical spelling; leading zeros and
capital letters are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeVar

T = TypeVar("T")

FULL: Final = "full"
BOOLEAN: Final = "true|false|1|0|on|off|yes|no"
TO_100: Final = "100|[1-9]?[0-9]"
MEGAPIXELS: Final = r"[1-9][0-9]{0,5}(?:\.[0-9]{1,9})?|0?\.[0-9]{0,4}[1-9][0-9]{0,4}"
_WHOLE: Final = re.compile(r"[0-9]{1,3}")
# After the point as many digits as a float can have when JSON brings it.
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,20})?|\.[0-9]{1,20}")
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}


def boolean(text: str) -> bool:
    """`on|yes|1` and `off|no|0` mean it, too."""
    return choice(_BOOLEANS)(text)


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`, at most 999."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def choice(members: Mapping[str, T]) -> Callable[[str], T]:
    """What reads one of these names, in small letters or capitals."""

    def read(text: str) -> T:
        if text.lower() not in members:
            raise ValueError(text)
        return members[text.lower()]

    return read


def megapixels(text: str) -> float | None:
    """`full` is no limit."""
    if text.lower() == FULL:
        return None
    if not _NUMBER.fullmatch(text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""


@dataclass(frozen=True, slots=True)
class Ground:
    """One colour as background, with its own alpha 0..255."""

    colour: Colour
    alpha: int = 255


WHITE: Final = Ground((255, 255, 255))
_TRANSPARENT: Final = "transparent"
_HEX: Final = re.compile(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
_RGB: Final = re.compile(r"rgba?\(\s*([^()]*?)\s*\)", re.IGNORECASE)
_RGB_SEPARATOR: Final = re.compile(r"\s*[,/]\s*|\s+")
_LEVEL: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?%?|\.[0-9]{1,9}%?")


def background(text: str) -> Ground | None:
    """A `colour`, or None for one that is wholly transparent."""
    ground = colour(text)
    return ground if ground.alpha else None


def colour(text: str) -> Ground:
    """CSS: a name, `transparent`, `#rgb`, `#rrggbb`, each with or without alpha and #, `rgb()` or `rgba()`."""
    if text.lower() == _TRANSPARENT:
        return Ground((0, 0, 0), 0)
    if levels := _RGB.fullmatch(text):
        if ground := _of_levels(_RGB_SEPARATOR.split(levels[1])):
            return ground
        raise ValueError(text)
    from PIL import ImageColor  # it takes a tenth of a second, which `--help` need not wait for

    found = _HEX.fullmatch(text)
    # Pillow reads rgb(…) and hsl(…), too, also to levels that are no byte.
    if not found and text.lower() not in ImageColor.colormap:
        raise ValueError(text)
    red, green, blue, *alpha = ImageColor.getrgb(f"#{found[1]}" if found else text)
    return Ground((red, green, blue), *alpha)


def _of_levels(levels: list[str]) -> Ground | None:
    """Red, green and blue 0 to 255 or in per cent, alpha 0 to 1 or in per cent; None for what is no colour."""
    if len(levels) not in (3, 4) or not all(map(_LEVEL.fullmatch, levels)):
        return None
    parts = [float(level.removesuffix("%")) / (100 if level.endswith("%") else 255) for level in levels]
    if len(levels) == 4 and not levels[3].endswith("%"):
        parts[3] *= 255
    if max(parts) > 1:
        return None
    red, green, blue, *alpha = (round(part * 255) for part in parts)
    return Ground((red, green, blue), *alpha)


def on_white(ground: Ground | bytes | None) -> Ground | bytes:
    """For files that know no transparency: what shows through is white."""
    if ground is None:
        return WHITE
    if isinstance(ground, bytes) or ground.alpha == 255:
        return ground
    mixed = [round(255 + (level - 255) * ground.alpha / 255) for level in ground.colour]
    return Ground((mixed[0], mixed[1], mixed[2]))


# The unit may be left out of a 0, as in CSS.
_LENGTH: Final = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,4})?)(px|%)|0")
_MARGIN: Final = r"(?:(?:50|[1-4]?[0-9](?:\.[0-9]{1,4})?)%|(?:500|[1-4]?[0-9]{1,2}(?:\.[0-9]{1,4})?)px|0)"
MARGINS: Final = f"{_MARGIN}(?: {_MARGIN}(?: {_MARGIN} {_MARGIN})?)?"


class Unit(StrEnum):
    """What a length counts: pixels of the photo, or hundredths of a side."""

    PIXELS = "px"
    PERCENT = "%"


MARGIN_MAX: Final = {Unit.PIXELS: 500, Unit.PERCENT: 50}


@dataclass(frozen=True, slots=True)
class Length:
    """A distance along one side of a picture or of a box."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `10%`, `20px` or `0`. Raises ValueError."""
        found = _LENGTH.fullmatch(text)
        if not found:
            raise ValueError(f"a {cls.__name__.lower()} is of the kind 10% or 20px")
        return cls(float(found[1] or 0), Unit(found[2] or Unit.PIXELS))

    def pixels(self, side: int) -> int:
        """Of a side of so many pixels."""
        return round(self.amount * (side / 100 if self.unit is Unit.PERCENT else 1))


@dataclass(frozen=True, slots=True)
class Margin(Length):
    """Space on one side of a box. Raises ValueError below 0 or above MARGIN_MAX."""

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= MARGIN_MAX[self.unit]:
            raise ValueError(f"a margin is 0{self.unit} to {MARGIN_MAX[self.unit]}{self.unit}")


@dataclass(frozen=True, slots=True)
class Margins:
    """Space on all four sides of a box."""

    top: Margin
    right: Margin
    bottom: Margin
    left: Margin

    @classmethod
    def parse(cls, text: str) -> Margins:
        """From `10%`, `20px 5%` (above and below, beside) or four, clockwise from the top. Raises ValueError."""
        match [Margin.parse(word) for word in text.split()]:
            case [every]:
                return cls(every, every, every, every)
            case [upright, beside]:
                return cls(upright, beside, upright, beside)
            case [top, right, bottom, left]:
                return cls(top, right, bottom, left)
        raise ValueError("a margin is one, two or four of the kind 10% or 20px")
