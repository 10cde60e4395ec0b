"""An HTTP request comes in, the photo's bytes and the options that it names go out. Knows no pixels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.errors import (
    BadForm,
    ClientGone,
    InvalidQuality,
    MissingSource,
    MultipleSources,
    UnknownOption,
    UnsupportedType,
)
from model.matting import Quality

FIELD: Final = "image"
QUALITY: Final = "quality"
FORM: Final = "multipart/form-data"
_URL_FIELDS: Final = ("image_url", "url")


async def read_upload(request: Request) -> tuple[bytes, dict[str, str]]:
    """The photo's bytes from the form field `image` or the raw body, and the options from the form and the query.

    Raises ClientErrors.
    """
    options = dict(request.query_params)
    _refuse_unknown(options)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == FORM:
            data, fields = await _from_form(request)
            return data, options | fields
        data = await request.body()
    except ClientDisconnect:
        raise ClientGone("The client left during the upload.") from None
    if not data:
        raise MissingSource(f"Send the photo as form field `{FIELD}`, or as the body with its image/* type.")
    if not kind.startswith("image/"):
        raise UnsupportedType(
            f"Send the photo as form field `{FIELD}`, or as the body with its image/* type."
        )
    return data, options


def quality_of(options: Mapping[str, str]) -> Quality:
    """Raises InvalidQuality."""
    asked = options.get(QUALITY, Quality.STANDARD)
    if asked not in set(Quality):
        raise InvalidQuality(f"`{QUALITY}` is one of {', '.join(Quality)}, not {asked!r}.")
    return Quality(asked)


async def _from_form(request: Request) -> tuple[bytes, dict[str, str]]:
    parser = MultiPartParser(
        request.headers, request.stream(), max_files=4, max_fields=16, max_part_size=64 * 1024
    )
    # Starlette spools larger files to disk; photos never go there, and admission has capped the body already.
    parser.spool_max_size = request.app.state.settings.max_upload_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadForm(error.message) from None
    try:
        return await _photo(form), _options(form)
    finally:
        await form.close()


async def _photo(form: FormData) -> bytes:
    sources = form.getlist(FIELD)
    if not sources and any(name in form for name in _URL_FIELDS):
        raise MissingSource(f"Photos are not fetched from URLs, on purpose; send the file as `{FIELD}`.")
    if not sources:
        others = sorted(set(form) - {FIELD})
        sent = f"; `{others[0]}` was sent" if others else ""
        raise MissingSource(f"Form field `{FIELD}` must hold a file{sent}.")
    if len(sources) > 1:
        raise MultipleSources(f"Send one `{FIELD}` in each request.")
    data = await sources[0].read() if isinstance(sources[0], UploadFile) else b""
    if not data:
        raise MissingSource(f"Form field `{FIELD}` must hold a file.")
    return data


def _options(form: FormData) -> dict[str, str]:
    fields = {name: value for name, value in form.items() if name != FIELD}
    _refuse_unknown(fields)
    return {name: value if isinstance(value, str) else "a file" for name, value in fields.items()}


def _refuse_unknown(options: Collection[str]) -> None:
    for name in sorted(options):
        if name != QUALITY:
            raise UnknownOption(f"There is no option {name!r}; there is `{QUALITY}`.")
