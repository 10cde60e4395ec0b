"""What OpenAPI says of the routes that take photos: options, bodies, answers, errors, keys. Text; nothing here acts.

Patterns are those of the canonical spelling: spaces around a value, leading zeros, a `TRUE`, `PNG` or `jpeg` are read
as well, and a blank value is one left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from app import errors
from app.api.uploads import FIELD, FORM
from app.imaging.output import MEDIA_TYPES, Colours, Format
from app.schemas import ErrorBody
from model.matting import Quality

Schema = dict[str, Any]

PHOTO_TYPES: Final = tuple(
    f"image/{kind}" for kind in ("jpeg", "png", "webp", "heic", "heif", "avif", "tiff", "bmp", "gif")
)
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
    "color": {
        "type": "string",
        "enum": list(Colours),
        "default": Colours.KEEP,
        "description": "`keep`: the photo's own colour profile is in the answer; `srgb`: its colours are converted.",
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


def upload(
    options: Mapping[str, Schema],
    *,
    name: str = FIELD,
    files: Mapping[str, Schema] | None = None,
    excluding: Sequence[str] = (),
) -> Schema:
    """A photo as form field `name` or as the body itself, with options in the form or the query, of which those
    `excluding` each other do not come together; in the query, too, which OpenAPI has no words for."""
    properties = {name: BINARY} | dict(options) | dict(files or {})
    schema: Schema = {"type": "object", "required": [name], "properties": properties}
    return {
        "parameters": [
            {"name": each, "in": "query", "required": False, "schema": schema}
            for each, schema in options.items()
        ],
        "requestBody": {
            "required": True,
            "description": f"The photo as form field `{name}`, or as the body itself with its own content type.",
            "content": {
                FORM: {"schema": _closed(schema, excluding)},
                **{kind: {"schema": BINARY} for kind in PHOTO_TYPES},
            },
        },
    }


def form(
    options: Mapping[str, Schema],
    *,
    files: Collection[str],
    photos: Sequence[str],
    excluding: Sequence[str] = (),
    without_files: Mapping[str, Callable[[str, Schema], Schema]] | None = None,
) -> Schema:
    """A form of options and files. It holds one of `photos`, and not all of those `excluding` each other.

    `without_files`: content types in which the options may come, too, but no files, and what becomes of an option's
    name and schema there.
    """
    content = {FORM: {"schema": _with_photo(dict.fromkeys(files, BINARY) | dict(options), photos, excluding)}}
    for kind, spelt in (without_files or {}).items():
        texts = {name: spelt(name, schema) for name, schema in options.items()}
        content[kind] = {"schema": _with_photo(texts, photos, ())}
    return {"requestBody": {"required": True, "content": content}}


def _with_photo(properties: Mapping[str, Schema], photos: Sequence[str], excluding: Sequence[str]) -> Schema:
    there = [name for name in photos if name in properties]
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if len(there) == 1:
        return _closed({**schema, "required": there}, excluding)
    return _closed({**schema, "anyOf": [{"required": [name]} for name in there]}, excluding, there)


def _closed(schema: Schema, *excluding: Sequence[str]) -> Schema:
    """There are no other options; and where one of those `excluding` each other is, the others are not."""
    alone = {
        name: {"properties": dict.fromkeys([other for other in names if other != name], False)}
        for names in excluding
        for name in names
    }
    return {**schema, "additionalProperties": False} | ({"dependentSchemas": alone} if alone else {})


Responses = dict[int | str, dict[str, Any]]

PICTURES: Final[dict[str, Schema]] = {kind: {"schema": BINARY} for kind in MEDIA_TYPES.values()}
UPLOAD_ERRORS: Final = (
    errors.MissingSource,
    errors.MultipleSources,
    errors.BadForm,
    errors.MalformedRequest,
    errors.UnreadableImage,
    errors.Unauthorised,
    errors.BodyTooSlow,
    errors.HeadTooSlow,
    errors.BodyTooLarge,
    errors.TooManyPixels,
    errors.UnsupportedType,
    errors.UnknownOption,
    errors.InvalidOption,
    errors.HeadTooLarge,
    errors.QueueFull,
    errors.InferenceFailed,
    errors.NotReady,
    errors.OutOfMemory,
    errors.TooManyConnections,
    errors.DeadlinePassed,
)
MATTE_ERRORS: Final = (*UPLOAD_ERRORS, errors.UnknownModel, errors.InvalidQuality)
CUTOUT_ERRORS: Final = (
    *MATTE_ERRORS,
    errors.InvalidFormat,
    errors.InvalidBackground,
    errors.MultipleBackgrounds,
    errors.InvalidBlur,
    errors.InvalidCrop,
    errors.InvalidMargin,
    errors.InvalidSize,
    errors.InvalidShadow,
)
REMOVEBG_ERRORS: Final = (
    *UPLOAD_ERRORS,
    errors.UnknownForeground,
    errors.InvalidSize,
    errors.InvalidType,
    errors.InvalidFormat,
    errors.InvalidRegion,
    errors.RegionEmpty,
    errors.RegionOutside,
    errors.InvalidCrop,
    errors.InvalidMargin,
    errors.InvalidScale,
    errors.InvalidPosition,
    errors.InvalidChannels,
    errors.InvalidShadow,
    errors.InvalidBackground,
    errors.MultipleBackgrounds,
)
REMBG_ERRORS: Final = (*UPLOAD_ERRORS, errors.InvalidBackground)
KEY_WAYS: Final[dict[str, Schema]] = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Basic": {"type": "http", "scheme": "basic", "description": "Any name, and the key as the password."},
}
_TEXTS: Final = {
    400: "The request cannot succeed as it was sent",
    401: "Keys are set and none or a wrong one was sent",
    404: "The model is not there",
    408: "The request came too slowly",
    413: "Too many bytes, or too many pixels by the header",
    415: "Not a file of a format that is taken",
    422: "An option or a value of it that does not exist",
    429: "The queue is full, or this client has had its photos for now; Retry-After says when to come back",
    431: "Too many bytes before the body",
    500: "The network failed",
    503: "Loading, shutting down, or the device loop has ended",
    504: "The deadline passed",
}
_EXAMPLES: Final = {
    400: errors.UnreadableImage("The JPEG file is truncated or damaged."),
    401: errors.Unauthorised("Send one of the service's keys as X-Api-Key or as Authorization: Bearer."),
    404: errors.UnknownModel("No model 'portrait@2' is in service; there is portrait@3."),
    408: errors.BodyTooSlow("The request body took longer than 30000 ms."),
    413: errors.BodyTooLarge("At most 25,000,000 bytes are accepted."),
    415: errors.UnsupportedType("The image must be a JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF file."),
    422: errors.UnknownOption("There is no option 'colour'; there is `quality`."),
    429: errors.QueueFull("All 64 request slots are in use; try again soon."),
    431: errors.HeadTooLarge("At most 16,384 bytes are accepted before a request's body."),
    500: errors.InferenceFailed("The network gave numbers that are no alpha."),
    503: errors.NotReady("The model is still loading."),
    504: errors.DeadlinePassed("The request took longer than 60000 ms."),
}
_HEADERS: Final = {
    "X-Request-Id": "Your own X-Request-Id if you sent a plain one, else a new one",
    "X-Model": "name@version of the model",
    "X-Width": "Width of the answer in pixels",
    "X-Height": "Height of the answer in pixels",
    "X-Frames": "How many pictures the photo's file holds, of which the first was taken; absent if it is one",
    "X-Foreground": "`person`, or `none` where nobody was found: then the matte is all but empty",
    "X-Matte-Confidence": "0 to 1: the mIoU to expect of this matte, from the network's own alpha",
    "Server-Timing": "Milliseconds for each stage: decode, queue, infer, refine, (compose,) encode",
}
_RATE_HEADERS: Final = {
    "X-RateLimit-Limit": "Photos per minute that this client may post; absent where there is no such limit",
    "X-RateLimit-Remaining": "How many of them it may post at once",
    "X-RateLimit-Reset": "When that will be all of them again, in seconds since 1970",
}
_RETRY_HEADERS: Final = {"Retry-After": "Seconds to wait before the next try"}
_PROBLEM_HEADERS: Final = {
    401: {"WWW-Authenticate": "`Bearer`; for pages that need a key `Basic`"},
    429: _RETRY_HEADERS | _RATE_HEADERS,
    503: _RETRY_HEADERS,
}
_BOX_HEADERS: Final = {
    f"X-Foreground-{side}": f"Where the person is in the answer, in pixels: {side.lower()}; absent if nobody is there"
    for side in ("Top", "Left", "Width", "Height")
}


def problems(
    kinds: Collection[type[errors.ServiceError]],
    status_of: Callable[[type[errors.ServiceError]], int] = lambda kind: kind.status,
) -> Responses:
    """What errors of these `kinds` are answered, by status, each with its codes and an example."""
    codes: dict[int, list[str]] = {}
    for kind in kinds:
        codes.setdefault(status_of(kind), []).append(f"`{kind.code}`")
    return {status: _problem(status, ", ".join(codes[status])) for status in sorted(codes)}


def _problem(status: int, codes: str) -> dict[str, Any]:
    error = _EXAMPLES[status]
    example = {
        "errors": [{"title": error.title, "code": error.code, "detail": error.detail}],
        "request_id": "0f8fad5bd9cb469fa16570867728950e",
    }
    described: dict[str, Any] = {
        "model": ErrorBody,
        "description": f"{_TEXTS[status]} ({codes})",
        "content": {"application/json": {"example": example}},
    }
    if status in _PROBLEM_HEADERS:
        described["headers"] = _headers(_PROBLEM_HEADERS[status])
    return described


def with_keys(document: Schema, *, keyed: Callable[[str], bool], optional: bool) -> Schema:
    """`document` with the ways to send a key, at each path that is `keyed`; one of them will do, or, if `optional`,
    none.
    """
    ways: list[Schema] = [*([{}] if optional else []), *({name: []} for name in KEY_WAYS)]

    def locked(methods: Schema) -> Schema:
        return {method: operation | {"security": ways} for method, operation in methods.items()}

    paths = document["paths"].items()
    return document | {
        "paths": {path: locked(methods) if keyed(path) else methods for path, methods in paths},
        "components": document.get("components", {}) | {"securitySchemes": KEY_WAYS},
    }


def _headers(table: Mapping[str, str]) -> Schema:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in table.items()}


MATTE_RESPONSES: Final[Responses] = {
    200: {
        "description": "The matte: 8-bit grey PNG of the upright photo's size, 0 is background.",
        "content": {"image/png": {"schema": BINARY}},
        "headers": _headers(_HEADERS | _BOX_HEADERS | _RATE_HEADERS),
    },
    **problems(MATTE_ERRORS),
}
CUTOUT_RESPONSES: Final[Responses] = {
    200: {
        "description": "The person with alpha channel, or before the background that was asked for.",
        "content": PICTURES,
        "headers": _headers(_HEADERS | _BOX_HEADERS | _RATE_HEADERS),
    },
    **problems(CUTOUT_ERRORS),
}
