"""Count the bytes of one request, add headers to its answer, and send the answer in chunks.

Knows ASGI, and nothing about the request's content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.observability.logs import request_id

EXTRA_HEADERS: Final = "matte.headers"
"""Scope key of headers, name to value, that inner layers want added to the answer, whichever layer sends it."""

STRICT: Final[Mapping[str, str]] = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Keep other websites from embedding an answer, and browsers from guessing its type."""

# Unless an answer sets these itself, it is a photo, or describes a photo or the present state: it must not be cached,
# and as a document it may load and run nothing.
_DEFAULTS: Final = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
_CHUNK_BYTES: Final = 256 * 1024  # bytes of an answer per ASGI message


def _raw(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Encode headers for ASGI: lower-case names, bytes."""
    return {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}


_STRICT: Final = _raw(STRICT)


def complete_headers(
    given: Iterable[tuple[bytes, bytes]], added: Mapping[bytes, bytes], *, close: bool
) -> list[tuple[bytes, bytes]]:
    """The given headers, the added ones, and those of every answer. `close`: the connection ends after the answer."""
    ours = {**_STRICT, **added, b"x-request-id": request_id.get().encode("latin-1")}
    if close:
        ours[b"connection"] = b"close"
    theirs = [(name, value) for name, value in given if name not in ours]
    present = {name for name, _ in theirs}
    defaults = [(name, value) for name, value in _DEFAULTS.items() if name not in present]
    return [*theirs, *ours.items(), *defaults]


class MeasuredExchange:
    """Count a request's bytes, add headers, and announce the end of the connection if the body was not read to its
    end. `app.server.protocol` discards the rest of such a body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._complete(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            message = await self._send_all_but_last(message)
        await self._send(message)

    def _complete(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Add the headers of every answer."""
        return complete_headers(given, _raw(self._scope.get(EXTRA_HEADERS, {})), close=self._unread)

    async def _send_all_but_last(self, message: Message) -> Message:
        """Send all but the last chunk of a body, and return the last. The server waits for the client after each
        chunk: an answer that the client does not read keeps its slot until its deadline, and is not buffered without
        limit."""
        body = message.get("body", b"")
        self.bytes_out += len(body)
        last = max(0, (len(body) - 1) // _CHUNK_BYTES * _CHUNK_BYTES)
        for start in range(0, last, _CHUNK_BYTES):
            chunk = body[start : start + _CHUNK_BYTES]
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        return {**message, "body": body[last:]}
