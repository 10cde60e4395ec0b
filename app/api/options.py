"""The options of a cut-out as a client writes them come in, an `Output` goes out. Knows no pixels and no HTTP.

Whoever lets clients write options, over HTTP or on the command line, reads them here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from PIL import ImageColor

from app.errors import (
    ClientError,
    InvalidBackground,
    InvalidBlur,
    InvalidCrop,
    InvalidFormat,
    InvalidMargin,
    InvalidOption,
    InvalidQuality,
    InvalidShadow,
    InvalidSize,
    MultipleBackgrounds,
)
from app.imaging.crop import Margins
from app.imaging.output import Channels, Colours, Format, Ground, Output
from model.matting import Quality

T = TypeVar("T")

HOW: Final = ("quality", "model")
NAMES: Final = ("format", "background", "blur", "crop", "margin", "size", "shadow", "color")
FULL: Final = "full"
NO_MARGIN: Final = "0px"
_WHITE: Final = Ground((255, 255, 255))
_HEX: Final = re.compile(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
# Narrower than int() and float(), which also read other scripts' digits, 1_0, nan and inf.
_WHOLE: Final = re.compile(r"[0-9]{1,3}")
# After the point as many digits as a float can have when JSON brings it.
_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,20})?|\.[0-9]{1,20}")
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "1", "on", "yes"), True),
    **dict.fromkeys(("false", "0", "off", "no"), False),
}
_FORMATS: Final = {**{str(each): each for each in Format}, "jpeg": Format.JPG}
_TRANSPARENT: Final = "transparent"
_RGB: Final = re.compile(r"rgba?\(\s*([^()]*?)\s*\)", re.IGNORECASE)
_RGB_SEPARATOR: Final = re.compile(r"\s*[,/]\s*|\s+")
_LEVEL: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?%?|\.[0-9]{1,9}%?")


def read_output(options: Mapping[str, str], picture: bytes | None = None) -> Output:
    """From the options by name, all of them optional, and the background's file. Raises ClientErrors."""
    kind = value_of(
        options, "format", file_format, Format.PNG, InvalidFormat, f"is one of {', '.join(Format)}"
    )
    expected = "is a CSS colour (a name, hex, `rgb()`), `transparent`, or a file"
    asked = value_of(options, "background", background, None, InvalidBackground, expected)
    if sum((picture is not None, asked is not None, "blur" in options)) > 1:
        raise MultipleBackgrounds("Send one background: a colour or a file in `background`, or `blur`.")
    ground: Ground | bytes | None = picture or asked
    blur = value_of(options, "blur", whole(1, 100), None, InvalidBlur, "is a whole number, 1 to 100")
    if kind is Format.JPG and blur is None:
        ground = on_white(ground)
    expected = "is `full` or a number of megapixels"
    return Output(
        channels=Channels.RGBA,
        format=kind,
        background=ground,
        blur=blur,
        crop=_crop(options),
        megapixels=value_of(options, "size", megapixels, None, InvalidSize, expected),
        shadow=value_of(options, "shadow", whole(0, 100), 0, InvalidShadow, "is a whole number, 0 to 100"),
        colours=value_of(
            options,
            "color",
            lambda text: Colours(text.lower()),
            Colours.KEEP,
            InvalidOption,
            f"is one of {', '.join(Colours)}",
        ),
    )


@dataclass(frozen=True, slots=True)
class How:
    """How a matte is to be made: at what cost, and by which model, `name` or `name@version`; empty is the default."""

    quality: Quality = Quality.STANDARD
    model: str = ""


def read_how(options: Mapping[str, str]) -> How:
    """Whether the model is there shows when it is used. Raises InvalidQuality."""
    return How(quality_of(options), options.get("model", "").strip())


def quality_of(options: Mapping[str, str]) -> Quality:
    """Raises InvalidQuality."""
    expected = f"is one of {', '.join(Quality)}"
    return value_of(
        options, "quality", lambda text: Quality(text.lower()), Quality.STANDARD, InvalidQuality, expected
    )


def value_of(
    written: Mapping[str, str],
    name: str,
    read: Callable[[str], T],
    default: T,
    problem: type[ClientError],
    expected: str,
) -> T:
    """What the option `name` says, read from its text without spaces around; `default` if it is not there.

    Raises `problem` where `read` raises ValueError, and says that the option is what is `expected`.
    """
    if name not in written:
        return default
    try:
        return read(written[name].strip())
    except ValueError:
        raise problem(f"`{name}` {expected}; {written[name][:100]!r} was sent.") from None


def file_format(text: str) -> Format:
    """`jpeg` is `jpg`. Raises ValueError."""
    if text.lower() not in _FORMATS:
        raise ValueError(text)
    return _FORMATS[text.lower()]


def background(text: str) -> Ground | None:
    """A `colour`, or None for one that is wholly transparent. Raises ValueError."""
    ground = colour(text)
    return ground if ground.alpha else None


def colour(text: str) -> Ground:
    """CSS: a name, `transparent`, `#rgb`, `#rgba`, `#rrggbb` or `#rrggbbaa`, # left out or not, `rgb()` or `rgba()`.

    Raises ValueError.
    """
    if text.lower() == _TRANSPARENT:
        return Ground((0, 0, 0), 0)
    if levels := _RGB.fullmatch(text):
        if ground := _of_levels(_RGB_SEPARATOR.split(levels[1])):
            return ground
        raise ValueError(text)
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


def megapixels(text: str) -> float | None:
    """`full` is no limit. Raises ValueError."""
    if text.lower() == FULL:
        return None
    if not _NUMBER.fullmatch(text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`, at most 999, and raises ValueError for all else."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def boolean(text: str) -> bool:
    """Raises ValueError."""
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def on_white(ground: Ground | bytes | None) -> Ground | bytes:
    """For files that know no transparency: what shows through is white."""
    if ground is None:
        return _WHITE
    if isinstance(ground, bytes) or ground.alpha == 255:
        return ground
    mixed = [round(255 + (level - 255) * ground.alpha / 255) for level in ground.colour]
    return Ground((mixed[0], mixed[1], mixed[2]))


def _crop(options: Mapping[str, str]) -> Margins | None:
    wished = value_of(options, "crop", boolean, "margin" in options, InvalidCrop, "is `true` or `false`")
    expected = "is 1, 2 or 4 values, each `10%` (at most 50%) or `20px` (at most 500px)"
    margins = value_of(options, "margin", Margins.parse, Margins.parse(NO_MARGIN), InvalidMargin, expected)
    return margins if wished else None
