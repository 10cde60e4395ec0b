"""Turn exceptions into HTTP answers; no other module does.

`app.errors` lists the errors. Knows no pixels.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import InvalidOption, ServiceError
from app.middleware.response_headers import complete_headers
from app.observability.logs import new_id, request_id

REPEATS_DETAIL: Final = frozenset({"/api/remove"})
"""Paths of a FastAPI service whose clients come here: they look for `detail` at the top of an error's JSON."""

_TO_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode


def to_response(error: Exception, *, status: int | None = None) -> Response:
    """Build the answer to any exception: status, JSON body and headers.

    `status` replaces the status of a ServiceError, for APIs with other conventions. An unexpected exception becomes a
    500 that reveals nothing about the service.
    """
    if isinstance(error, ServiceError):
        return _error_response(status or error.status, error.title, error.code, error.detail, error.headers)
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _error_response(
            error.status_code,
            phrase,
            phrase.lower().replace(" ", "_"),
            _helpful_detail(error, phrase),
            dict(error.headers or {}),
        )
    if isinstance(error, RequestValidationError):
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _error_response(InvalidOption.status, InvalidOption.title, InvalidOption.code, problems, {})
    return _error_response(
        500, ServiceError.title, ServiceError.code, "The request failed inside the service.", {}
    )


def _helpful_detail(error: HTTPException, phrase: str) -> str:
    """The error's detail or, where Starlette's only repeats the status, a more helpful sentence."""
    if error.detail != phrase:
        return error.detail
    allowed = (error.headers or {}).get("Allow")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and allowed:
        return f"This path takes {' and '.join(sorted(allowed.split(', ')))} only."
    if error.status_code == HTTPStatus.NOT_FOUND:
        return "There is nothing at this path."
    return phrase


async def handle(_request: Request, error: Exception) -> Response:
    """`to_response` in the shape of a Starlette exception handler."""
    return to_response(error)


def to_bytes(error: ServiceError) -> tuple[bytes, bytes]:
    """Encode the answer as (head, body) for a socket that is closed afterwards. Outside of a request it gets a
    request id of its own."""
    token = None if request_id.get() else request_id.set(new_id())
    try:
        response = to_response(error)
        headers = complete_headers(
            response.raw_headers, {b"date": formatdate(usegmt=True).encode()}, close=True
        )
    finally:
        if token:
            request_id.reset(token)
    lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b""]), bytes(response.body)


def _error_response(status: int, title: str, code: str, detail: str, headers: dict[str, str]) -> Response:
    return _ErrorResponse({"title": title, "code": code, "detail": detail}, status, headers)


class _ErrorResponse(Response):
    """A `schemas.ErrorBody` with one item, built without pydantic because an overloaded service sends many. Stores
    the error's code in the request's scope, for the log, the metrics and the trace. Where the path is one of
    REPEATS_DETAIL, the item's detail stands beside `errors` too."""

    media_type = "application/json"

    def __init__(self, item: dict[str, str], status: int, headers: dict[str, str]) -> None:
        self._item = item
        super().__init__(self._encode(), status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["error_code"] = self._item["code"]
        if scope["path"] in REPEATS_DETAIL:
            self.body = self._encode(detail=self._item["detail"]).encode()
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)

    def _encode(self, **beside: str) -> str:
        return _TO_JSON({"errors": [self._item], "request_id": request_id.get(), **beside})
