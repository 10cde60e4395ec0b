"""What OpenAPI says of the routes that take photos: answers, errors, keys. It is text; nothing here acts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from app import errors
from app.option_schemas import BINARY, Schema
from app.output import MEDIA_TYPES
from app.schemas import ErrorBody

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
    415: "Not a JPEG, PNG or WebP file",
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
    415: errors.UnsupportedType("The image must be a JPEG, PNG or WebP file."),
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
