"""POST /v1.0/removebg, GET /v1.0/account: answer remove.bg's requests in its own terms.

For clients that speak to remove.bg today: only the address changes. Parameters, headers and error codes are its own
(`app.api.removebg_options`); a parameter that means nothing here is refused by name. Nothing is charged, so the
account is one that never runs out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.api import openapi, removebg_options
from app.api.removebg_options import NO_TYPE, RemovebgOptions, read_output
from app.api.routes import ask, headers_of
from app.api.uploads import JSON, NO_URLS, URL, URLENCODED, Parts, read_parts
from app.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientError,
    ClientGone,
    HeadTooLarge,
    HeadTooSlow,
    InvalidOption,
    MissingSource,
    MultipleBackgrounds,
    MultipleSources,
    RegionEmpty,
    RegionOutside,
    ServiceError,
    Unauthorised,
    UnknownForeground,
    UnknownOption,
    UnreadableImage,
)
from app.middleware.error_responses import to_response
from app.options import Schema
from app.pipeline import Result
from app.schemas import Account, AccountAttributes, AccountData, Credits, FreeCalls

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


def in_json(name: str, schema: Schema) -> Schema:
    """The parameter in a JSON body: a number or truth value where that means something, or null for nothing."""
    if name == BASE64:
        return schema
    text = {key: value for key, value in schema.items() if key != "description"}
    return {
        "description": schema["description"],
        "anyOf": [text, *_NO_TEXTS.get(name, ()), {"type": "null"}],
    }


def in_urlencoded(_name: str, schema: Schema) -> Schema:
    """As in a multipart form."""
    return schema


PATH: Final = "/v1.0/removebg"
ACCOUNT_PATH: Final = "/v1.0/account"
IMPROVE_PATH: Final = "/v1.0/improve"
BASE64: Final = "image_file_b64"
FILES: Final = ("image_file", "bg_image_file")
# The URLs that remove.bg would fetch, and what is to be sent instead.
_URLS: Final = {"image_url": f"`image_file` or `{BASE64}`", "bg_image_url": "`bg_image_file`"}
# What admission refuses keeps its status; every other fault of a client is a 400 at remove.bg.
_ADMISSIONS: Final = (Unauthorised, BodyTooSlow, HeadTooSlow, BodyTooLarge, HeadTooLarge, ClientGone)
_ERRORS: Final = (
    *openapi.UPLOAD_ERRORS,
    UnknownForeground,
    RegionEmpty,
    RegionOutside,
    MultipleBackgrounds,
)
_SHOWN: Final = 100
# More than any client waits for, and the sum of three fits the 32-bit integers that some of them read it into.
_PLENTY: Final = 1_000_000
_ACCOUNT: Final = Account(
    data=AccountData(
        attributes=AccountAttributes(
            credits=Credits(total=3 * _PLENTY, subscription=_PLENTY, payg=_PLENTY, enterprise=_PLENTY),
            api=FreeCalls(free_calls=_PLENTY, sizes="all"),
        )
    )
)

router = APIRouter()


def status_of(error: type[ServiceError]) -> int:
    """The HTTP status by which remove.bg's clients know this kind of error."""
    return 400 if issubclass(error, ClientError) and not issubclass(error, _ADMISSIONS) else error.status


@router.post(
    PATH,
    summary="Remove the background, as remove.bg's clients ask for it",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, or JSON with it in base64 where `Accept` asks for that alone.",
            "content": {**openapi.PICTURES, JSON: {"schema": {"type": "object"}}},
            "headers": openapi.REMOVEBG_HEADERS,
        },
        **openapi.problems(_ERRORS, status_of, options=RemovebgOptions),
    },
    openapi_extra=openapi.form(
        RemovebgOptions.schemas()
        | {BASE64: openapi.BASE64 | {"description": "The photo in base64, instead of `image_file`."}},
        files=FILES,
        photos=("image_file", BASE64),
        excluding=("bg_color", "bg_image_file"),
        without_files={JSON: in_json, URLENCODED: in_urlencoded},
    ),
)
async def removebg(request: Request) -> Response:
    """A drop-in for clients of remove.bg. Photos are sent as files or in base64; URLs are not fetched."""
    try:
        text_max = 2 * request.app.state.settings.max_upload_bytes  # base64 is a third longer than the file
        photo, picture, parameters = _read(await read_parts(request, text_max=text_max))
        result = await ask(request, photo, read_output(parameters, picture))
        if not result.finished.foreground:
            raise UnknownForeground("Nobody was found in the photo.")
    except ClientError as error:
        return to_response(error, status=status_of(type(error)))
    headers = headers_of(result) | {"X-Credits-Charged": "0"}
    if parameters.get("type_level", "").lower() != NO_TYPE:
        headers["X-Type"] = "person"
    return _answer(result, headers, as_json=wants_json(request.headers.get("accept", "")))


@router.get(
    ACCOUNT_PATH,
    summary="The credit balance, as remove.bg's clients ask for it",
    responses=openapi.problems([Unauthorised]),
)
async def account() -> Account:
    """Always the same large numbers: clients look before they send a photo, and nothing is charged here."""
    return _ACCOUNT


@router.post(IMPROVE_PATH, include_in_schema=False)
async def improve() -> Response:
    """Where remove.bg's clients give photos away for its training."""
    raise HTTPException(
        404,
        "There is no improvement program here: this service keeps no photos. "
        f"Send the photo to {PATH} to have its background removed.",
    )


def wants_json(accept: str) -> bool:
    """Whether JSON is asked for and pictures are not.

    HTTP clients add `*/*` of their own to JSON (axios does), and get the picture, as from remove.bg.
    """
    kinds = {each.partition(";")[0].strip().lower() for each in accept.split(",")}
    return "application/json" in kinds and not any(kind == "*/*" or kind[:6] == "image/" for kind in kinds)


def _read(parts: Parts) -> tuple[bytes, bytes | None, dict[str, str]]:
    """The photo, the background's file, and all parameters that are not empty. Raises ClientErrors."""
    texts = {name: value.strip() for name, value in parts.texts.items() if value.strip()}
    for name in sorted({*texts, *parts.files} - {*RemovebgOptions.model_fields, *FILES, *_URLS, BASE64}):
        raise UnknownOption(
            f"There is no parameter {name[:_SHOWN]!r} here. The photo is sent as `image_file` or `{BASE64}`."
        )
    for name in sorted({*parts.files} - {*FILES}):
        raise InvalidOption(f"`{name}` is text, not a file.")
    for name in sorted({*texts} & {*FILES}):
        raise InvalidOption(f"`{name}` is a file, not text.")
    for name in sorted({*texts} & {*_URLS}):
        raise MissingSource(f"{NO_URLS} as {_URLS[name]}.")
    photo = _photo(parts.file("image_file"), texts.pop(BASE64, None))
    return photo, parts.file("bg_image_file"), texts


def _photo(file: bytes | None, encoded: str | None) -> bytes:
    if file is not None and encoded is not None:
        raise MultipleSources(f"Send one of `image_file` and `{BASE64}`.")
    if file is not None:
        return file
    if encoded is None:
        raise MissingSource(f"Send the photo as `image_file` or `{BASE64}`.")
    if URL.match(encoded):
        raise MissingSource(f"{NO_URLS} as `image_file` or `{BASE64}`.")
    try:
        return removebg_options.decode(encoded)
    except ValueError as reason:
        raise UnreadableImage(f"`{BASE64}` {reason}") from None


def _answer(result: Result, headers: Mapping[str, str], *, as_json: bool) -> Response:
    finished = result.finished
    if not as_json:
        return Response(finished.data, media_type=finished.media_type, headers=headers)
    box = finished.person
    data: dict[str, str | int] = {"result_b64": base64.b64encode(finished.data).decode()}
    for side in ("top", "left", "width", "height"):
        data[f"foreground_{side}"] = getattr(box, side) if box else 0
    return JSONResponse({"data": data}, headers=headers)
