"""POST /api/remove: the requests of rembg's server come in, are said in our own words, and answered as there.
GET /api: the documentation, where rembg's server has its own.

For clients of `rembg s`: only the address changes. What chooses a model or tunes its alpha matting is accepted and
changes nothing, since there is one model here and its mattes are soft; a URL is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from app.api import openapi, web
from app.api.routes import deliver
from app.api.uploads import NO_URLS, read_upload, without_blanks
from app.imaging.output import MATTE, Output
from app.options import Options, Written, optional, pattern
from app.values import BOOLEAN, Ground, boolean, whole

PATH: Final = "/api/remove"
DOCS_PATH: Final = "/api"
FIELD: Final = "file"
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_COLOUR: Final = f"{_BYTE},{_BYTE},{_BYTE}(?:,{_BYTE})?"


def _ground(text: str) -> Ground | None:
    """None for a background that is wholly transparent. Raises ValueError."""
    read = whole(0, 255)
    match [read(word.strip()) for word in text.split(",")]:
        case [red, green, blue]:
            return Ground((red, green, blue))
        case [red, green, blue, alpha]:
            return Ground((red, green, blue), alpha) if alpha else None
    raise ValueError(text)


_Accepted = Annotated[Any, Field(description="Accepted.")]


class RembgOptions(Options):
    """Of rembg's server. Of those that are accepted nothing follows."""

    om: Annotated[
        bool,
        Written(boolean, "is `true` or `false`", optional(pattern(BOOLEAN))),
        Field(description="`true`: only the mask."),
    ] = False
    bgc: Annotated[
        Ground | None,
        Written(_ground, "is `r,g,b,a` with each 0 to 255", optional(pattern(_COLOUR))),
        Field(description="Background colour as `r,g,b,a`, each 0 to 255."),
    ] = None
    model: Annotated[Any, Field(description="Accepted; there is one model here.")] = None
    a: Annotated[Any, Field(description="Accepted: mattes are always soft.")] = None
    af: _Accepted = None
    ab: _Accepted = None
    ae: _Accepted = None
    ppm: _Accepted = None
    dc: _Accepted = None
    vm: _Accepted = None
    extras: _Accepted = None


router = APIRouter()


@router.post(
    PATH,
    summary="Remove the background, as rembg's clients ask for it",
    response_class=Response,
    responses={
        200: {
            "description": "The person with alpha channel, or the mask.",
            "content": {"image/png": {"schema": openapi.BINARY}},
        },
        **openapi.problems(openapi.UPLOAD_ERRORS, options=RembgOptions),
    },
    openapi_extra=openapi.form(RembgOptions.schemas(), files=(FIELD,), photos=(FIELD,)),
)
async def remove(request: Request) -> Response:
    """A drop-in for clients of rembg's server. Always a PNG of the photo's size."""
    upload = await read_upload(request, RembgOptions.model_fields, name=FIELD)
    read_output(upload.query)  # What the form overrules has to be right, too.
    return await deliver(request, upload.photo, read_output(upload.options))


@router.get(DOCS_PATH, include_in_schema=False)
async def documentation(request: Request) -> Response:
    """Clients of rembg's server ask for it to learn whether the server is there."""
    return await web.docs(request)


@router.get(f"{DOCS_PATH}/", include_in_schema=False)
async def documentation_with_slash() -> Response:
    """What the page loads would not be found from here."""
    return RedirectResponse(f"..{DOCS_PATH}")


@router.get(PATH, include_in_schema=False)
async def remove_url() -> Response:
    """What rembg fetches a URL for."""
    raise HTTPException(405, f"{NO_URLS} by POST as `{FIELD}`.", {"Allow": "POST"})


def read_output(texts: Mapping[str, str]) -> Output:
    """What rembg's parameters mean. Raises InvalidOption."""
    options = RembgOptions.model_validate(without_blanks(texts))
    return MATTE if options.om else Output(background=options.bgc)
