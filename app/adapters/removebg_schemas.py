"""What OpenAPI says of remove.bg's parameters: their texts from `removebg_options` and what these may look like."""

from __future__ import annotations

from typing import Final

from app.adapters.removebg_options import OPTIONS
from app.option_schemas import (
    BOOLEAN,
    COLOUR,
    CORNERS,
    MARGINS,
    MEGAPIXELS,
    PERCENT_TO_100,
    SCALE,
    TO_100,
    Schema,
    optional,
    pattern,
)

_TEXTS: Final[dict[str, Schema]] = {
    "size": pattern("preview|small|regular|medium|hd|4k|50MP|full|auto", MEGAPIXELS),
    "type": pattern("auto|person"),
    "type_level": pattern("none|1|2|latest"),
    "format": pattern("auto|png|jpg|webp|zip"),
    "roi": pattern(CORNERS),
    "crop": pattern(BOOLEAN),
    "crop_margin": pattern(MARGINS),
    "scale": pattern("original", SCALE),
    "position": pattern("original|center", f"{PERCENT_TO_100}(?: {PERCENT_TO_100})?"),
    "channels": pattern("rgba|alpha"),
    "add_shadow": pattern(BOOLEAN),
    "shadow_type": pattern("auto|drop|none"),
    "shadow_opacity": pattern(TO_100),
    "semitransparency": {"type": "string"},
    "bg_color": {"type": "string", "format": COLOUR},
}
# What JSON may hold besides texts.
_TRUTH: Final[tuple[Schema, ...]] = ({"type": "boolean"}, {"enum": [0, 1]})
_NO_TEXTS: Final[dict[str, tuple[Schema, ...]]] = {
    "size": ({"type": "number", "minimum": 0.0001, "exclusiveMaximum": 1_000_000},),
    "type_level": ({"enum": [1, 2]},),
    "crop": _TRUTH,
    "crop_margin": ({"enum": [0]},),
    "add_shadow": _TRUTH,
    "shadow_opacity": ({"type": "integer", "minimum": 0, "maximum": 100},),
    "semitransparency": ({"type": "boolean"}, {"type": "number"}),
}

SCHEMAS: Final[dict[str, Schema]] = {
    name: optional(_TEXTS[name]) | {"description": text} for name, text in OPTIONS.items()
}


def in_json(name: str, schema: Schema) -> Schema:
    """The parameter in a JSON body: a number or truth value where that means something, or null for nothing."""
    if name not in _TEXTS:
        return schema
    text = {key: value for key, value in schema.items() if key != "description"}
    return {
        "description": schema["description"],
        "anyOf": [text, *_NO_TEXTS.get(name, ()), {"type": "null"}],
    }


def in_urlencoded(_name: str, schema: Schema) -> Schema:
    """As in a multipart form."""
    return schema
