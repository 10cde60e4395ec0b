"""A request as text comes in, all routes that take photos answer it; an exception says what one of them did wrong.

    multipart/form-data; boundary=b         its content type
    quality=high&crop=true                  its query
    …                                       from the third line on, its body

Parsing, options and everything that is drawn by them are real; the network is not there, and any photo is the same
small one. Wrong is an answer other than a picture or a refusal by the sender's fault, and a refusal without bounds.
"""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from fastapi import FastAPI

from app.api import rembg, removebg
from app.api.openapi import PICTURES
from app.api.routes import router
from app.errors import ServiceError
from app.imaging import encode
from app.imaging.output import MATTE, Output
from app.imaging.render import render
from app.imaging.tiles import Strips
from app.middleware.error_responses import handle
from app.pipeline import Finished, Result
from app.schemas import ErrorBody

PATHS: Final = ("/v1/matte", "/v1/cutout", removebg.PATH, rembg.PATH)
REFUSALS: Final = frozenset({400, 413, 415, 422})
ANSWER_MAX: Final = 3_000  # bytes of a refusal, however long what is refused
MOST_BYTES: Final = 100_000
_SIDES: Final = (30, 40)


class _Studio:
    """In the place of the pipeline: nothing is decoded or inferred."""

    def __init__(self) -> None:
        rows, columns = np.mgrid[0 : _SIDES[0], 0 : _SIDES[1]]
        self._image = np.dstack((rows * 8, columns * 6, rows + columns)).astype(np.uint8)
        self._alpha = np.zeros(_SIDES, np.uint8)
        self._alpha[6:24, 12:30] = 255

    async def run(self, photo: bytes, output: Output, **_: object) -> Result:
        """Raises what rendering raises."""
        assert isinstance(photo, bytes)
        assert photo
        picture = self._image if isinstance(output.background, bytes) else None
        rendered = render(self._image, self._alpha, output, picture)
        pixels = rendered.pixels
        height, width = pixels.shape[:2]
        assert isinstance(pixels, Strips) or pixels.dtype == np.uint8
        assert 1 <= height <= _SIDES[0]
        assert 1 <= width <= _SIDES[1]
        box = rendered.person
        if box is not None:
            assert 0 <= box.top < box.top + box.height <= height
            assert 0 <= box.left < box.left + box.width <= width
        data = encode.encode(pixels, output.format)
        kind = output.format.media_type
        if output == MATTE:
            assert kind == "image/png"
        return Result(Finished(data, kind, height, width, box, 1.0, box is not None, 1), {}, "none@0")


def _service() -> FastAPI:
    app = FastAPI(exception_handlers={ServiceError: handle}, openapi_url=None)
    for each in (router, removebg.router, rembg.router):
        app.include_router(each)
    app.state.settings = SimpleNamespace(max_upload_bytes=MOST_BYTES)
    app.state.pipeline = _Studio()
    return app


_APP: Final = _service()
_LOOP: Final = asyncio.new_event_loop()


def check(data: bytes) -> dict[str, int]:
    """The status of each path's answer. Raises AssertionError, or what a route let through."""
    kind, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    return {path: _LOOP.run_until_complete(_status(path, kind, query, body)) for path in PATHS}


async def _status(path: str, kind: bytes, query: bytes, body: bytes) -> int:
    half = len(body) // 2
    messages = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else await asyncio.Event().wait() or {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await _APP(
        {
            "type": "http",
            "method": "POST",
            "path": path,
            # As a server hands them over: without what can be in no header line and no request line.
            "query_string": bytes(byte for byte in query if 0x20 < byte < 0x7F),
            "headers": [(b"content-type", kind.replace(b"\r", b"").replace(b"\0", b"").strip())],
        },
        receive,
        send,
    )
    return _judged(sent)


def _judged(sent: list[dict[str, Any]]) -> int:
    start, *bodies = sent
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(message["body"] for message in bodies)
    if start["status"] == 200:
        assert headers["content-type"] in {*PICTURES, "application/json"}
        assert body
        return 200
    assert start["status"] in REFUSALS, (start["status"], body)
    assert len(body) <= ANSWER_MAX, len(body)
    ErrorBody.model_validate(json.loads(body))
    return start["status"]
