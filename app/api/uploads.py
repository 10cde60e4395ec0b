"""An HTTP request comes in, the photo's bytes and the options that it names go out. Knows no pixels.

read_parts    what a body holds: files and texts by their names, in any of the forms that clients send
read_upload   of that, or of a body that is the photo itself: the one photo, and options that exist
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from app.api.multipart import Form
from app.errors import (
    BadForm,
    ClientGone,
    InvalidOption,
    MissingSource,
    MultipleSources,
    UnknownOption,
    UnsupportedType,
)

FIELD: Final = "image"
FORM: Final = "multipart/form-data"
URLENCODED: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
TEXT_MAX: Final = 64 * 1024  # bytes of a field that is no file
FIELDS_MAX: Final = 32
FILES_MAX: Final = 4
# Commas, brackets and braces of a JSON body: each value takes one, and many times its own bytes once it is read.
_JSON_MARKS: Final = b",[{"
_JSON_MARKS_MAX: Final = 1_000
_SHOWN: Final = 100  # letters of what a client wrote that an error repeats
NO_URLS: Final = (
    "Photos are not fetched from URLs, on purpose: who can make a service fetch addresses can look into its network. "
    "Send the file itself"
)
_URL_ENDING: Final = "url"
URL: Final = re.compile(r"\s*https?://", re.IGNORECASE)
_HOW_TO_SEND: Final = (
    "Send the photo as a file in the form field `{name}`, or as the whole body with an image/* Content-Type."
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a body holds. Of a text that came more than once, the last that is not blank."""

    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, list[bytes]] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> set[str]:
        return {*self.texts, *self.files}

    def file(self, name: str) -> bytes | None:
        """The one file of this name that is not empty: browsers send empty ones for fields left alone.

        Raises MultipleSources.
        """
        found = [data for data in self.files.get(name, []) if data]
        if len(found) > 1:
            raise MultipleSources(f"Send one `{name}` in each request.")
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo's bytes, the options that came with it, and the other files. A blank option did not come: browsers send
    those that were left alone.

    `query`: those options that came there; of them the form may say otherwise, and counts.
    """

    photo: bytes = field(repr=False)
    options: Mapping[str, str]
    query: Mapping[str, str]
    parts: Parts


async def read_upload(
    request: Request, options: Collection[str], *, files: Collection[str] = (), name: str = FIELD
) -> Upload:
    """The photo from the form field `name` or the raw body, and `options` from the form and the query.

    `files`: those options that may be files, too. Raises ClientErrors.
    """
    query = _last(request.query_params.multi_items())
    _refuse_unknown(query, options)
    kind = content_type(request)
    parts = Parts()
    if kind == FORM:
        parts = await read_parts(request)
        photo = _photo(parts, name)
        _refuse_unknown(parts.names - {name}, options)
        for each in sorted({*parts.files} - {name, *files}):
            if parts.file(each):
                raise InvalidOption(f"`{each}` is text, not a file.")
    else:
        photo = await _body(request)
        problem = UnsupportedType if photo else MissingSource
        if not (photo and kind.startswith("image/")):
            raise problem(f"{_HOW_TO_SEND.format(name=name)} {_what_came(kind, photo)}")
    given = without_blanks(query)
    return Upload(photo, given | without_blanks(parts.texts), given, parts)


async def read_parts(request: Request, *, text_max: int = TEXT_MAX) -> Parts:
    """Of a multipart or urlencoded form or a JSON object; nothing, of whatever kind, holds nothing.

    Raises BadForm, UnsupportedType or ClientGone.
    """
    kind = content_type(request)
    pieces = (piece async for piece in request.stream() if piece)
    try:
        first = await anext(pieces, b"")
        if not first:
            return Parts()
        if kind == JSON:
            return Parts(_json_texts(await _joined(first, pieces)))
        if kind == URLENCODED:
            return Parts(_urlencoded_texts(await _joined(first, pieces)))
        if kind != FORM:
            raise UnsupportedType(f"Send the options and the photo as {FORM}.")
        form = Form(
            request.headers,
            _from_first(first, pieces),
            max_files=FILES_MAX,
            max_fields=FIELDS_MAX,
            max_part_size=text_max,
        )
        # Starlette spools larger files to disk; photos never go there, and admission has capped the body already.
        form.spool_max_size = request.app.state.settings.max_upload_bytes
        return await _parts_of(await form.parse())
    except MultiPartException as error:
        raise BadForm(error.message) from None
    except ClientDisconnect:
        raise ClientGone("The client left during the upload.") from None


def content_type(request: Request) -> str:
    """Without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request) -> bytes:
    """Not by `request.body()`, which would keep a copy until the request is answered."""
    try:
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise ClientGone("The client left during the upload.") from None


async def _joined(first: bytes, pieces: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([first, *[piece async for piece in pieces]])


async def _from_first(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in pieces:
        yield piece


def without_blanks(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text.strip()}


def _last(texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each name the last text that is not blank, if there is one."""
    found: dict[str, str] = {}
    for name, text in texts:
        if text.strip() or name not in found:
            found[name] = text
    return found


async def _parts_of(form: FormData) -> Parts:
    texts: list[tuple[str, str]] = []
    files: dict[str, list[bytes]] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.setdefault(name, []).append(await value.read())
            else:
                texts.append((name, value))
    finally:
        await form.close()
    return Parts(_last(texts), files)


def _urlencoded_texts(body: bytes) -> dict[str, str]:
    try:
        return _last(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:  # UnicodeDecodeError is one
        raise BadForm(
            f"The body is not a urlencoded form of UTF-8 text with at most {FIELDS_MAX} fields."
        ) from None


def _json_texts(body: bytes) -> dict[str, str]:
    if sum(body.count(mark) for mark in _JSON_MARKS) > _JSON_MARKS_MAX:
        raise BadForm("The JSON holds too many values.")
    try:
        values = json.loads(body)
    except ValueError:  # UnicodeDecodeError is one
        raise BadForm("The body is not JSON, though its Content-Type says so.") from None
    except RecursionError:
        raise BadForm("The JSON is nested too deeply.") from None
    if not isinstance(values, dict):
        raise BadForm("The JSON must be an object: option names and their values.")
    texts = {}
    for name, value in values.items():
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON knows one kind of numbers: 5.0 is 5.
        if isinstance(value, str | bool | int | float):
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
        elif value is not None:
            raise BadForm(f"The option {name[:_SHOWN]!r} must be a string, a number, `true` or `false`.")
    return texts


def _photo(parts: Parts, name: str) -> bytes:
    photo = parts.file(name)
    if photo is not None:
        return photo
    text = parts.texts.get(name, "")
    if URL.match(text) or any(each.endswith(_URL_ENDING) for each in parts.texts):
        raise MissingSource(f"{NO_URLS} as `{name}`.")
    if text.strip():
        raise MissingSource(
            f"The form field `{name}` holds text, not a file. Send the file itself, as curl does with "
            f"-F {name}=@photo.jpg."
        )
    if name in parts.names:
        raise MissingSource(f"The form field `{name}` is empty. Send the photo as a file in it.")
    others = sorted(parts.names)
    sent = f"; {others[0][:_SHOWN]!r} was sent" if others else ""
    raise MissingSource(f"There is no form field `{name}`{sent}. Send the photo as a file in `{name}`.")


def _what_came(kind: str, body: bytes) -> str:
    if not body:
        return "The body is empty."
    return f"The Content-Type was {kind[:_SHOWN]!r}." if kind else "There was no Content-Type."


def _refuse_unknown(sent: Collection[str], known: Collection[str]) -> None:
    for name in sorted(sent):
        if name not in known:
            listed = ", ".join(f"`{each}`" for each in known)
            raise UnknownOption(f"There is no option {name[:_SHOWN]!r}; there is {listed}.")
