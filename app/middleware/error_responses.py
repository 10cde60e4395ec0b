"""An exception comes in, the HTTP answer that tells of it goes out: the one place where errors become HTTP.

Which errors there are is said in `app.errors`. Knows no pixel.
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
from app.middleware.response_headers import completed
from app.observability.logs import new_id, request_id

_TO_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode


def to_response(error: Exception, *, status: int | None = None) -> Response:
    """Any exception to status, JSON body and headers.

    `status` takes the place of a ServiceError's own, for clients of another service's conventions. Unexpected
    exceptions become a 500 that says nothing about the inside.
    """
    if isinstance(error, ServiceError):
        return _answer(status or error.status, error.title, error.code, error.detail, error.headers)
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _answer(
            error.status_code,
            phrase,
            phrase.lower().replace(" ", "_"),
            _plainer(error, phrase),
            dict(error.headers or {}),
        )
    if isinstance(error, RequestValidationError):
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _answer(InvalidOption.status, InvalidOption.title, InvalidOption.code, problems, {})
    return _answer(500, ServiceError.title, ServiceError.code, "The request failed inside the service.", {})


def _plainer(error: HTTPException, phrase: str) -> str:
    """Its detail; where Starlette says no more than the status does, what to do."""
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
    """Head and body of `to_response` as they go over a socket that is closed afterwards, with all headers; where no
    request is being answered, with an id of its own."""
    token = None if request_id.get() else request_id.set(new_id())
    try:
        response = to_response(error)
        headers = completed(response.raw_headers, {b"date": formatdate(usegmt=True).encode()}, close=True)
    finally:
        if token:
            request_id.reset(token)
    lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b""]), bytes(response.body)


def _answer(status: int, title: str, code: str, detail: str, headers: dict[str, str]) -> Response:
    return _ErrorResponse({"title": title, "code": code, "detail": detail}, status, headers)


class _ErrorResponse(Response):
    """A `schemas.ErrorBody` of one item, put together without pydantic: a service under a flood makes many. Leaves
    the error's code in the request's scope, for the log, the metrics and the trace."""

    media_type = "application/json"

    def __init__(self, item: dict[str, str], status: int, headers: dict[str, str]) -> None:
        super().__init__(_TO_JSON({"errors": [item], "request_id": request_id.get()}), status, headers)
        self._code = item["code"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["error_code"] = self._code
        await super().__call__(scope, receive, send)
