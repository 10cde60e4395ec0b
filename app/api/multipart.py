"""The bytes of a multipart form come in, its fields and files go out: Starlette's parser, for what clients send.

A part is a file where it has a file's name, in either spelling (RFC 8187's `filename*`, too), where its content type
is a picture's, and where its bytes begin as a picture's: many HTTP libraries send bytes without any name. Knows no
option.
"""

from __future__ import annotations

import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

_UNQUOTABLE: Final = str.maketrans("", "", '"\\')
_PICTURE: Final = b"image/"
_NAMELESS: Final = b'; filename=""'
_BEGINNING: Final = 16  # bytes of a part that are looked at
# JPEG, PNG, WebP, GIF, TIFF, HEIC or AVIF, BMP, and what is then refused as a photo of another format: ICO.
_PICTURES: Final = re.compile(
    rb"\xff\xd8|\x89PNG|RIFF....WEBP|GIF8[79]a|II\*\0|MM\0\*|....ftyp|\0\0\x01\0|BM....\0\0\0\0", re.DOTALL
)

# Of Starlette's messages those that do not say what to do.
_PLAINER: Final = {
    "Missing boundary in multipart.": (
        "The Content-Type of the form names no boundary. Let your HTTP library set this header."
    ),
    "Invalid multipart data.": "The body is not a form in parts with the boundary that its Content-Type names.",
    'The Content-Disposition header field "name" must be provided.': (
        "A part of the form has no name. Its Content-Disposition must hold a name, such as image."
    ),
}


class Form(MultiPartParser):
    """Starlette's own also takes a form that breaks off for one that ends there, and forgets its last file."""

    _ended = False

    def on_end(self) -> None:
        """Called at the boundary that closes the form."""
        self._ended = True
        super().on_end()

    def on_headers_finished(self) -> None:
        """Raises MultiPartException."""
        part = self._current_part
        disposition = _plain(part.content_disposition or b"")
        kind = dict(part.item_headers).get(b"content-type", b"")
        part.content_disposition = disposition + (
            _NAMELESS if kind.strip().lower().startswith(_PICTURE) else b""
        )
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Raises MultiPartException."""
        part = self._current_part
        if part.file is None:
            beginning = bytes(part.data[:_BEGINNING]) + data[start : min(end, start + _BEGINNING)]
            if len(part.data) < _BEGINNING and _PICTURES.match(beginning):
                self._becomes_file()
            elif len(part.data) + end - start > self.max_part_size:
                raise MultiPartException(_too_long(part.field_name, int(self.max_part_size)))
        super().on_part_data(data, start, end)

    async def parse(self) -> FormData:
        """Raises MultiPartException."""
        try:
            form = await super().parse()
        except MultiPartException as error:
            raise MultiPartException(_PLAINER.get(error.message, error.message)) from None
        if not self._ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException(
                "The form ends before its closing boundary: a part of the body is missing."
            )
        return form

    def _becomes_file(self) -> None:
        """The part that was taken for a text, with what has come of it."""
        part = self._current_part
        self._current_fields -= 1
        part.content_disposition = (part.content_disposition or b"") + _NAMELESS
        super().on_headers_finished()
        if part.data:
            self._file_parts_to_write.append((part, bytes(part.data)))


def _plain(disposition: bytes) -> bytes:
    """With `name` and `filename` where there are only `name*` and `filename*` (RFC 8187) or `filename*0` (RFC 2231),
    which the parser passes over. Raises MultiPartException."""
    if b"*" not in disposition:
        return disposition
    _, known = parse_options_header(disposition)
    header = Message()
    header["content-disposition"] = disposition.decode("latin-1")
    try:
        values = {each: header.get_param(each, header="content-disposition") for each in ("name", "filename")}
    except (TypeError, ValueError):  # such as of `name*` beside `name*0`
        raise MultiPartException("The Content-Disposition of a part cannot be read.") from None
    for name, value in values.items():
        if value is not None and name.encode() not in known:
            text = collapse_rfc2231_value(value).translate(_UNQUOTABLE)
            disposition += f'; {name}="{text}"'.encode()
    return disposition


def _too_long(name: str, most: int) -> str:
    return (
        f"Field {name[:100]!r} is text of more than {most // 1024} kB. A photo is sent as a file: its part has a "
        "filename, or an image/* Content-Type."
    )
