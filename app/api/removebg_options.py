"""Translate remove.bg's parameters into an `Output`. Knows no pixels and no HTTP.

They are those of https://www.remove.bg/api (November 2026), as far as they mean something here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final

from app import values
from app.errors import InvalidOption, MultipleBackgrounds
from app.imaging.crop import Placement, Region
from app.imaging.output import Channels, Output
from app.options import COLOUR, Format, Options, Schema, Written, optional, pattern
from app.values import Ground, Margins

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
_FORMATS: Final = {
    "auto": None,
    "png": Format.PNG,
    "jpg": Format.JPG,
    "webp": Format.WEBP,
    "zip": Format.ZIP,
    "jpeg": Format.JPG,
}
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_PERCENT_TO_100: Final = r"(?:100|[1-9]?[0-9](?:\.[0-9]{1,4})?)%"
_POSITION: Final = f"{_PERCENT_TO_100}(?: {_PERCENT_TO_100})?"
_SCALE_MIN, _SCALE_MAX = 10, 100
_SCALE: Final = r"(?:100|[1-9][0-9](?:\.[0-9]{1,4})?)%"
_LENGTH: Final = r"(?:[0-9]{1,5}(?:\.[0-9]{1,4})?(?:px|%)|0)"


def _takes(text: str, read: Callable[[str], object], schema: Schema) -> Written:
    """A parameter that OpenAPI describes by `text`, and errors as well."""
    expected = f"takes {text[:1].lower()}{text[1:].removesuffix('.')}"
    return Written(read, expected, optional(schema) | {"description": text})


def _one_of(text: str, members: Mapping[str, object], *unnamed: str) -> Written:
    """One of these names; `unnamed`: those that OpenAPI does not tell of."""
    return _takes(text, values.choice(members), pattern(*(name for name in members if name not in unnamed)))


def _names(*names: str) -> dict[str, str]:
    return dict(zip(names, names, strict=True))


def _megapixels(text: str) -> float | None:
    return _SIZES[text.lower()] if text.lower() in _SIZES else values.megapixels(text)


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


_SIZE: Final = _takes(
    "`preview` (0.25 megapixels), `small`, `regular`, `medium` (1.5), `hd` (4), `4k` (10), `50MP` (50), "
    "`full` or `auto`: the most that the answer may have.",
    _megapixels,
    pattern("preview|small|regular|medium|hd|4k|50MP|full|auto", values.MEGAPIXELS),
)
_TYPE: Final = _one_of("`auto` or `person`: this service knows people.", _names("auto", "person"))
_TYPE_LEVEL: Final = _one_of(
    "`none`, `1`, `2` or `latest`; X-Type is `person` for all but `none`.",
    _names(NO_TYPE, "1", "2", "latest"),
)
_FORMAT: Final = _one_of(
    "`auto` (PNG, or JPEG where nothing is transparent), `png`, `jpg` (or `jpeg`), `webp`, `zip`.",
    _FORMATS,
    "jpeg",
)
_ROI: Final = _takes(
    "`x1 y1 x2 y2`, each `10%` or `20px`: the corners of the region with the person.",
    Region.parse,
    pattern(" ".join([_LENGTH] * 4)),
)
_MARGIN: Final = _takes(
    "1, 2 or 4 values, each `10%` (at most 50%) or `20px` (at most 500px), and is used with `crop`.",
    Margins.parse,
    pattern(values.MARGINS),
)
_FITTING: Final = _takes(
    "`original`, or `10%` to `100%` of the largest size that fits.", _scale, pattern("original", _SCALE)
)
_PLACE: Final = _takes(
    "`original`, `center`, or one or two values in per cent.",
    _position,
    pattern("original|center", _POSITION),
)
_CHANNELS: Final = _one_of("`rgba`, or `alpha` for the matte.", {str(each): each for each in Channels})
_COLOUR: Final = _takes(
    "A colour name, 3, 4, 6 or 8 hex digits, `rgb(…)`, `rgba(…)` or `transparent`.",
    values.background,
    {"type": "string", "format": COLOUR},
)
_SHADOW_TYPE: Final = _one_of("`auto`, `drop` or `none`.", _names("auto", "drop", "none"))
_SOFT: Final = _takes("Accepted: mattes are always soft.", str, {"type": "string"})


def _truth(text: str) -> Written:
    return _takes(text, values.boolean, pattern(values.BOOLEAN))


class RemovebgOptions(Options):
    """remove.bg's parameters. Those that are None did not come."""

    size: Annotated[float | None, _SIZE] = None
    type: Annotated[str, _TYPE] = "auto"
    type_level: Annotated[str, _TYPE_LEVEL] = NO_TYPE
    format: Annotated[Format | None, _FORMAT] = None
    roi: Annotated[Region | None, _ROI] = None
    crop: Annotated[bool, _truth("`true`: cut to the person.")] = False
    crop_margin: Annotated[Margins | None, _MARGIN] = None
    scale: Annotated[float | None, _FITTING] = None
    position: Annotated[tuple[float | None, float | None] | None, _PLACE] = None
    channels: Annotated[Channels, _CHANNELS] = Channels.RGBA
    add_shadow: Annotated[bool | None, _truth("`true`: a soft shadow.")] = None
    shadow_type: Annotated[str | None, _SHADOW_TYPE] = None
    shadow_opacity: Annotated[int, _takes("0 to 100.", values.whole(0, 100), pattern(values.TO_100))] = 50
    semitransparency: Annotated[str, _SOFT] = ""
    bg_color: Annotated[Ground | None, _COLOUR] = None

    def output(self, picture: bytes | None) -> Output:
        """What they and the background's file mean. Raises ClientErrors."""
        if picture is not None and self.bg_color is not None:
            raise MultipleBackgrounds("Send `bg_color` or `bg_image_file`, not both.")
        alpha = self.channels is Channels.ALPHA
        ground: Ground | bytes | None = None if alpha else picture or self.bg_color
        return Output(
            channels=self.channels,
            format=self._format(picture or self.bg_color),
            background=ground,
            region=self.roi,
            crop=self.crop,
            margin=self.crop_margin if self.crop else None,
            placement=self._placement(),
            size=self.size,
            shadow=self._shadow(),
        )

    def _format(self, ground: Ground | bytes | None) -> Format:
        alpha = self.channels is Channels.ALPHA
        if self.format is Format.ZIP and alpha:
            raise InvalidOption(
                "A `zip` holds colours and alpha; `channels=alpha` has no colours.", option="format"
            )
        opaque = not alpha and ground is not None and values.on_white(ground) == ground
        return self.format or (Format.JPG if opaque else Format.PNG)

    def _placement(self) -> Placement | None:
        if self.position is None:
            # remove.bg's own rule: scaled without a position, the person comes into the middle.
            return None if self.scale is None else Placement(self.scale, 50, 50)
        left, top = self.position
        return None if self.scale is None and left is None else Placement(self.scale, left, top)

    def _shadow(self) -> int:
        asked = self.shadow_type is not None if self.add_shadow is None else self.add_shadow
        return self.shadow_opacity if asked and self.shadow_type != "none" else 0


def read_output(parameters: Mapping[str, str], picture: bytes | None = None) -> Output:
    """What the parameters by name, none of them empty, and the background's file mean. Raises ClientErrors."""
    return RemovebgOptions.model_validate(parameters).output(picture)


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
