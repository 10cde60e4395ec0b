"""What OpenAPI says of the routes that take photos: options, bodies, answers. It is text; nothing here acts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from app import errors
from app.output import MEDIA_TYPES, Format
from app.schemas import ErrorBody
from app.uploads import FIELD, FORM
from model.matting import Quality

Schema = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

BINARY: Final[Schema] = {"type": "string", "format": "binary"}
PICTURES: Final[Schema] = {kind: {"schema": BINARY} for kind in MEDIA_TYPES.values()}
QUALITY: Final[Schema] = {
    "type": "string",
    "enum": list(Quality),
    "default": Quality.STANDARD,
    "description": "`high` runs the network on the photo and on its mirror image and takes the mean: "
    "a little better, at twice the network's cost.",
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
        "description": "A CSS colour name or a hex value, with alpha or without (`white`, `#00ff0080`); in a form "
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
        "type": "string",
        "description": "Space around the person, which means `crop`: one value, two (above and below, beside) or "
        "four (clockwise from the top), each `10%` of the person's size (at most 50%) or `20px` (at most 500px).",
        "examples": ["10%", "20px 5%"],
    },
    "size": {
        "type": "string",
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
}
MATTE_OPTIONS: Final[dict[str, Schema]] = {"quality": QUALITY}
UPLOAD_ERRORS: Final = (
    errors.MissingSource,
    errors.MultipleSources,
    errors.BadForm,
    errors.UnreadableImage,
    errors.Unauthorised,
    errors.BodyTooSlow,
    errors.BodyTooLarge,
    errors.TooManyPixels,
    errors.UnsupportedType,
    errors.UnknownOption,
    errors.InvalidOption,
    errors.QueueFull,
    errors.InferenceFailed,
    errors.NotReady,
    errors.DeadlinePassed,
)
MATTE_ERRORS: Final = (*UPLOAD_ERRORS, errors.InvalidQuality)
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
_TEXTS: Final = {
    400: "The request cannot succeed as it was sent",
    401: "Keys are set and none or a wrong one was sent",
    408: "The body came too slowly",
    413: "Too many bytes, or too many pixels by the header",
    415: "Not a JPEG, PNG or WebP file",
    422: "An option or a value of it that does not exist",
    429: "The queue is full; Retry-After says when to come back",
    500: "The network failed",
    503: "Loading, shutting down, or the device loop has ended",
    504: "The deadline passed",
}
_EXAMPLES: Final = {
    400: errors.UnreadableImage("The JPEG file is truncated or damaged."),
    401: errors.Unauthorised("Send one of the service's keys as X-Api-Key or as Authorization: Bearer."),
    408: errors.BodyTooSlow("The request body took longer than 30000 ms."),
    413: errors.BodyTooLarge("At most 25000000 bytes are accepted."),
    415: errors.UnsupportedType("The image must be a JPEG, PNG or WebP file."),
    422: errors.UnknownOption("There is no option 'colour'; there is `quality`."),
    429: errors.QueueFull("64 requests are in the house already; try again soon."),
    500: errors.InferenceFailed("The network gave numbers that are no alpha."),
    503: errors.NotReady("The model is still loading."),
    504: errors.DeadlinePassed("The request took longer than 60000 ms."),
}
_HEADERS: Final = {
    "X-Request-Id": "Your own X-Request-Id if you sent a plain one, else a new one",
    "X-Model": "name@version of the model",
    "X-Width": "Width of the answer in pixels",
    "X-Height": "Height of the answer in pixels",
    "X-Foreground": "`person`, or `none` where nobody was found: then the matte is all but empty",
    "X-Matte-Confidence": "0 to 1: the mIoU to expect of this matte, from the network's own alpha",
    "Server-Timing": "Milliseconds for each stage: decode, queue, infer, refine, (compose,) encode",
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
    if error.retry_after_s is not None:
        described["headers"] = _headers({"Retry-After": "Seconds to wait before the next try"})
    return described


def _headers(table: Mapping[str, str]) -> Schema:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in table.items()}


def upload(
    options: Mapping[str, Schema], *, name: str = FIELD, files: Mapping[str, Schema] | None = None
) -> Schema:
    """A photo as form field `name` or as the body itself, with options in the form or the query."""
    properties = {name: BINARY} | dict(options) | dict(files or {})
    return {
        "parameters": [
            {"name": each, "in": "query", "required": False, "schema": schema}
            for each, schema in options.items()
        ],
        "requestBody": {
            "required": True,
            "description": f"The photo as form field `{name}`, or as the body itself with its own content type.",
            "content": {
                FORM: {"schema": {"type": "object", "required": [name], "properties": properties}},
                **{kind: {"schema": BINARY} for kind in ("image/jpeg", "image/png", "image/webp")},
            },
        },
    }


def form(
    options: Mapping[str, str],
    *,
    files: Collection[str],
    required: Collection[str] = (),
    without_files: Collection[str] = (),
) -> Schema:
    """A form of text options, each with what it means, and of files; those `required` must be there.

    `without_files`: content types in which the options may come, too, but no files.
    """
    texts: Schema = {name: {"type": "string", "description": text} for name, text in options.items()}
    schema: Schema = {"type": "object", "properties": dict.fromkeys(files, BINARY) | texts}
    if required:
        schema["required"] = list(required)
    content: Schema = {FORM: {"schema": schema}}
    content |= {kind: {"schema": {"type": "object", "properties": texts}} for kind in without_files}
    return {"requestBody": {"required": True, "content": content}}


MATTE_RESPONSES: Final[Responses] = {
    200: {
        "description": "The matte: 8-bit grey PNG of the upright photo's size, 0 is background.",
        "content": {"image/png": {"schema": BINARY}},
        "headers": _headers(_HEADERS | _BOX_HEADERS),
    },
    **problems(MATTE_ERRORS),
}
CUTOUT_RESPONSES: Final[Responses] = {
    200: {
        "description": "The person with alpha channel, or before the background that was asked for.",
        "content": PICTURES,
        "headers": _headers(_HEADERS | _BOX_HEADERS),
    },
    **problems(CUTOUT_ERRORS),
}
BACKGROUND_FILE: Final[dict[str, Schema]] = {
    "background": {
        "description": CUTOUT_OPTIONS["background"]["description"],
        "anyOf": [{"type": "string", "examples": ["white", "#1e90ff"]}, BINARY],
    }
}
