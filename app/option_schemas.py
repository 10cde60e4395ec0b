"""What OpenAPI says of single options: their types, limits and patterns. It is text; `options` and the adapters act.

Patterns are those of the canonical spelling: spaces around a value, leading zeros, a `TRUE`, `PNG` or `jpeg` are read
as well, and a blank value is one left out.
"""

from __future__ import annotations

from typing import Any, Final

from app.output import Format
from model.matting import Quality

Schema = dict[str, Any]

BINARY: Final[Schema] = {"type": "string", "format": "binary"}
# Of OpenAPI 3.1 itself there is none for colours; readers of the document take an unknown format as a remark.
COLOUR: Final = "css-color"
BASE64: Final[Schema] = {"type": "string", "format": "byte"}
BOOLEAN: Final = "true|false|1|0|on|off|yes|no"
PERCENT_TO_100: Final = r"(?:100|[1-9]?[0-9](?:\.[0-9]{1,4})?)%"
SCALE: Final = r"(?:100|[1-9][0-9](?:\.[0-9]{1,4})?)%"
_MARGIN: Final = r"(?:(?:50|[1-4]?[0-9](?:\.[0-9]{1,4})?)%|(?:500|[1-4]?[0-9]{1,2}(?:\.[0-9]{1,4})?)px|0)"
_LENGTH: Final = r"(?:[0-9]{1,5}(?:\.[0-9]{1,4})?(?:px|%)|0)"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
MARGINS: Final = f"{_MARGIN}(?: {_MARGIN}(?: {_MARGIN} {_MARGIN})?)?"
CORNERS: Final = f"{_LENGTH} {_LENGTH} {_LENGTH} {_LENGTH}"
MEGAPIXELS: Final = r"[1-9][0-9]{0,5}(?:\.[0-9]{1,9})?|0?\.[0-9]{0,4}[1-9][0-9]{0,4}"
TO_100: Final = "100|[1-9]?[0-9]"
COLOUR_LEVELS: Final = f"{_BYTE},{_BYTE},{_BYTE}(?:,{_BYTE})?"


def pattern(*either: str) -> Schema:
    """A text that one of these regular expressions describes in full."""
    return {"type": "string", "pattern": f"^(?:{'|'.join(either)})$"}


def optional(schema: Schema) -> Schema:
    """The same, and the empty text, which means that the option is not there."""
    if "pattern" in schema:
        return {**schema, "pattern": f"{schema['pattern'].removesuffix(')$')}|)$"}
    return {"anyOf": [schema, {"type": "string", "maxLength": 0}]} if "format" in schema else schema


QUALITY: Final[Schema] = {
    "type": "string",
    "enum": list(Quality),
    "default": Quality.STANDARD,
    "description": "`high` runs the network on the photo and on its mirror image and takes the mean: "
    "a little better, at twice the network's cost.",
}
MODEL: Final[Schema] = {
    "type": "string",
    "pattern": r"^(?:[a-z0-9][a-z0-9._-]{0,63}(?:@[^@]{1,64})?|)$",
    "description": "Which of the models in service (`/v1/models`): `name`, its newest version, or `name@version`. "
    "One that is not there is a 404.",
    "examples": ["portrait", "portrait@3"],
}
CUTOUT_OPTIONS: Final[dict[str, Schema]] = {
    "format": {
        "type": "string",
        "enum": list(Format),
        "default": Format.PNG,
        "description": "`jpg` knows no transparency and is laid on white; `zip` holds color.jpg and alpha.png.",
    },
    "background": {
        "type": "string",
        "format": COLOUR,
        "description": "A CSS colour (`white`, `#00ff0080`, `rgb(30 144 255 / 50%)`) or `transparent`; in a form "
        "also a picture's file, laid under the person so that it covers everything.",
        "examples": ["white", "#1e90ff"],
    },
    "blur": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "description": "The photo itself as background, blurred that strongly. Excludes `background`.",
    },
    "crop": {"type": "boolean", "default": False, "description": "Cut to the person."},
    "margin": {
        **pattern(MARGINS),
        "description": "Space around the person, which means `crop`: one value, two (above and below, beside) or "
        "four (clockwise from the top), each `10%` of the person's size (at most 50%) or `20px` (at most 500px).",
        "examples": ["10%", "20px 5%"],
    },
    "size": {
        **pattern("full", MEGAPIXELS),
        "default": "full",
        "description": "`full`, or the most megapixels of the answer.",
        "examples": ["full", "0.25", "4"],
    },
    "shadow": {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "default": 0,
        "description": "A soft shadow under the person, that dark in per cent.",
    },
    "quality": QUALITY,
    "model": MODEL,
}
MATTE_OPTIONS: Final[dict[str, Schema]] = {"quality": QUALITY, "model": MODEL}
BACKGROUND_FILE: Final[dict[str, Schema]] = {
    "background": {
        "description": CUTOUT_OPTIONS["background"]["description"],
        "anyOf": [
            {key: CUTOUT_OPTIONS["background"][key] for key in ("type", "format", "examples")},
            BINARY,
        ],
    }
}
