"""Translate remove.bg's parameters into an `Output`. Knows no pixels and no HTTP.

They are those of https://www.remove.bg/api (November 2026), as far as they mean something here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from app.api.options import NO_MARGIN, background, boolean, file_format, megapixels, on_white, value_of, whole
from app.errors import (
    ClientError,
    InvalidBackground,
    InvalidChannels,
    InvalidCrop,
    InvalidFormat,
    InvalidMargin,
    InvalidPosition,
    InvalidRegion,
    InvalidScale,
    InvalidShadow,
    InvalidSize,
    InvalidType,
    MultipleBackgrounds,
)
from app.imaging.crop import Margins, Placement, Region
from app.imaging.output import Channels, Format, Ground, Output

T = TypeVar("T")

OPTIONS: Final[dict[str, str]] = {
    "size": "`preview` (0.25 megapixels), `small`, `regular`, `medium` (1.5), `hd` (4), `4k` (10), `50MP` (50), "
    "`full` or `auto`: the most that the answer may have.",
    "type": "`auto` or `person`: this service knows people.",
    "type_level": "`none`, `1`, `2` or `latest`; X-Type is `person` for all but `none`.",
    "format": "`auto` (PNG, or JPEG where nothing is transparent), `png`, `jpg` (or `jpeg`), `webp`, `zip`.",
    "roi": "`x1 y1 x2 y2`, each `10%` or `20px`: the corners of the region with the person.",
    "crop": "`true`: cut to the person.",
    "crop_margin": "1, 2 or 4 values, each `10%` (at most 50%) or `20px` (at most 500px), and is used with `crop`.",
    "scale": "`original`, or `10%` to `100%` of the largest size that fits.",
    "position": "`original`, `center`, or one or two values in per cent.",
    "channels": "`rgba`, or `alpha` for the matte.",
    "add_shadow": "`true`: a soft shadow.",
    "shadow_type": "`auto`, `drop` or `none`.",
    "shadow_opacity": "0 to 100.",
    "semitransparency": "Accepted: mattes are always soft.",
    "bg_color": "A colour name, 3, 4, 6 or 8 hex digits, `rgb(…)`, `rgba(…)` or `transparent`.",
}
NO_TYPE: Final = "none"
_SIZES: Final[dict[str, float | None]] = {
    "preview": 0.25,
    "small": 0.25,
    "regular": 0.25,
    "medium": 1.5,
    "hd": 4.0,
    "4k": 10.0,
    "50mp": 50.0,
    "full": None,
    "auto": None,
}
_TYPES: Final = ("auto", "person")
_LEVELS: Final = (NO_TYPE, "1", "2", "latest")
_SHADOWS: Final = ("auto", "drop", "none")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_SCALE_MIN, _SCALE_MAX = 10, 100
_SHADOW: Final = 50


def read_output(parameters: Mapping[str, str], picture: bytes | None = None) -> Output:
    """What the parameters by name, none of them empty, and the background's file mean. Raises ClientErrors."""
    _value(parameters, "type", _one_of(_TYPES), InvalidType, "auto")
    _value(parameters, "type_level", _one_of(_LEVELS), InvalidType, NO_TYPE)
    colour = _value(parameters, "bg_color", background, InvalidBackground, None)
    if picture is not None and colour is not None:
        raise MultipleBackgrounds("Send `bg_color` or `bg_image_file`, not both.")
    ground: Ground | bytes | None = picture or colour
    channels = _value(
        parameters, "channels", lambda text: Channels(text.lower()), InvalidChannels, Channels.RGBA
    )
    kind = _format(parameters, ground, channels)
    if channels is Channels.ALPHA:
        ground = None
    elif kind is Format.JPG:
        ground = on_white(ground)
    crop = _value(parameters, "crop", boolean, InvalidCrop, False)
    margins = _value(parameters, "crop_margin", Margins.parse, InvalidMargin, Margins.parse(NO_MARGIN))
    return Output(
        channels=channels,
        format=kind,
        background=ground,
        region=_value(parameters, "roi", Region.parse, InvalidRegion, None),
        crop=margins if crop else None,
        placement=_placement(parameters),
        megapixels=_value(parameters, "size", _megapixels, InvalidSize, None),
        shadow=_shadow(parameters),
    )


def _format(parameters: Mapping[str, str], ground: Ground | bytes | None, channels: Channels) -> Format:
    opaque = isinstance(ground, bytes) or (ground is not None and ground.alpha == 255)
    fitting = Format.JPG if opaque and channels is Channels.RGBA else Format.PNG
    kind = _value(
        parameters,
        "format",
        lambda text: fitting if text.lower() == "auto" else file_format(text),
        InvalidFormat,
        fitting,
    )
    if kind is Format.ZIP and channels is Channels.ALPHA:
        raise InvalidFormat("A `zip` holds colours and alpha; `channels=alpha` has no colours.")
    return kind


def _megapixels(text: str) -> float | None:
    return _SIZES[text.lower()] if text.lower() in _SIZES else megapixels(text)


def _placement(parameters: Mapping[str, str]) -> Placement | None:
    scale = _value(parameters, "scale", _scale, InvalidScale, None)
    if "position" not in parameters:
        # remove.bg's own rule: scaled without a position, the person comes into the middle.
        return None if scale is None else Placement(scale, 50, 50)
    original: tuple[float | None, float | None] = (None, None)
    left, top = _value(parameters, "position", _position, InvalidPosition, original)
    return None if scale is None and left is None else Placement(scale, left, top)


def _scale(text: str) -> float | None:
    if text.lower() == "original":
        return None
    scale = _percent(text)
    if not _SCALE_MIN <= scale <= _SCALE_MAX:
        raise ValueError(text)
    return scale


def _position(text: str) -> tuple[float | None, float | None]:
    if text.lower() == "original":
        return None, None
    if text.lower() == "center":
        return 50, 50
    match [_percent(word) for word in text.split()]:
        case [both]:
            return both, both
        case [left, top]:
            return left, top
    raise ValueError(text)


def _percent(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if not found or float(found[1]) > 100:
        raise ValueError(text)
    return float(found[1])


def _shadow(parameters: Mapping[str, str]) -> int:
    kind = _value(parameters, "shadow_type", _one_of(_SHADOWS), InvalidShadow, None)
    wished = _value(parameters, "add_shadow", boolean, InvalidShadow, kind is not None)
    opacity = _value(parameters, "shadow_opacity", whole(0, 100), InvalidShadow, _SHADOW)
    return opacity if wished and kind != "none" else 0


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(text)
        return text.lower()

    return read


def _value(
    parameters: Mapping[str, str],
    name: str,
    read: Callable[[str], T],
    problem: type[ClientError],
    default: T,
) -> T:
    expected = OPTIONS[name].removesuffix(".")
    return value_of(parameters, name, read, default, problem, f"takes {expected[:1].lower()}{expected[1:]}")


_OTHER: Final = re.compile(r"[^A-Za-z0-9+/]")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_WRONG: Final = {
    " ": "holds spaces. A form reads + as a space: write + as %2B.",
    "%": "holds per cent signs: it was percent-encoded twice. Encode it once.",
    "=": "goes on after its padding (=). Send one base64 text.",
}


def decode(text: str) -> bytes:
    """`text` may be a data: URL, have lines, be of the URL-safe alphabet, and lack its padding.

    Raises ValueError with what is wrong, as the end of a sentence that the text begins.
    """
    # What begins a data: URL is left out, and so are line ends, which encoders set.
    letters = "".join(line.strip() for line in text.rpartition(",")[2].splitlines()).rstrip("=")
    if "-" in letters or "_" in letters:
        letters = letters.translate(_URL_SAFE)
    try:
        data = base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError:  # binascii.Error is one; letters that are not ASCII raise another
        raise ValueError(_fault(letters)) from None
    if not data:
        raise ValueError("is empty.")
    return data


def _fault(letters: str) -> str:
    other = _OTHER.search(letters)
    if other is None:
        return f"is cut off or is not base64: no base64 text has {len(letters):,} characters."
    return _WRONG.get(other[0], f"is not base64: its character {other.start() + 1:,} is {other[0]!r}.")
