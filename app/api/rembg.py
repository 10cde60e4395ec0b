"""POST /api/remove: the requests of rembg's server come in, are said in our own words, and answered as there.

For clients of `rembg s`: only the address changes. What chooses a model or tunes its alpha matting is accepted and
changes nothing, since there is one model here and its mattes are soft; a URL is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.api import openapi
from app.api import openapi as request_schemas
from app.api.openapi import BINARY, BOOLEAN, COLOUR_LEVELS, optional, pattern
from app.api.options import How, boolean, value_of, whole
from app.api.routes import deliver
from app.api.uploads import NO_URLS, read_upload
from app.errors import InvalidBackground, InvalidOption
from app.imaging.output import MATTE, Ground, Output

PATH: Final = "/api/remove"
FIELD: Final = "file"
OPTIONS: Final[dict[str, str]] = {
    "om": "`true`: only the mask.",
    "bgc": "Background colour as `r,g,b,a`, each 0 to 255.",
    "model": "Accepted; there is one model here.",
    "a": "Accepted: mattes are always soft.",
    "af": "Accepted.",
    "ab": "Accepted.",
    "ae": "Accepted.",
    "ppm": "Accepted.",
    "extras": "Accepted.",
}
_TEXTS: Final = {"om": optional(pattern(BOOLEAN)), "bgc": optional(pattern(COLOUR_LEVELS))}
SCHEMAS: Final = {name: _TEXTS.get(name, {}) | {"description": text} for name, text in OPTIONS.items()}

router = APIRouter()


@router.post(
    PATH,
    summary="Remove the background, as rembg's clients ask for it",
    response_class=Response,
    responses={
        200: {
            "description": "The person with alpha channel, or the mask.",
            "content": {"image/png": {"schema": BINARY}},
        },
        **openapi.problems(openapi.REMBG_ERRORS),
    },
    openapi_extra=request_schemas.form(SCHEMAS, files=(FIELD,), photos=(FIELD,)),
)
async def remove(request: Request) -> Response:
    """A drop-in for clients of rembg's server. Always a PNG of the photo's size."""
    upload = await read_upload(request, list(OPTIONS), name=FIELD)
    read_output(upload.query)  # What the form overrules has to be right, too.
    return await deliver(request, upload.photo, read_output(upload.options), How())


@router.get(PATH, include_in_schema=False)
async def remove_url() -> Response:
    """What rembg fetches a URL for."""
    raise HTTPException(405, f"{NO_URLS} by POST as `{FIELD}`.", {"Allow": "POST"})


def read_output(options: Mapping[str, str]) -> Output:
    """What rembg's parameters mean. Raises ClientErrors."""
    written = {name: value for name, value in options.items() if value.strip()}
    only_mask = value_of(written, "om", boolean, False, InvalidOption, "is `true` or `false`")
    expected = "is `r,g,b,a` with each 0 to 255"
    ground = value_of(written, "bgc", _ground, None, InvalidBackground, expected)
    return MATTE if only_mask else Output(background=ground)


def _ground(text: str) -> Ground | None:
    """None for a background that is wholly transparent. Raises ValueError."""
    read = whole(0, 255)
    match [read(word.strip()) for word in text.split(",")]:
        case [red, green, blue]:
            return Ground((red, green, blue))
        case [red, green, blue, alpha]:
            return Ground((red, green, blue), alpha) if alpha else None
    raise ValueError(text)
