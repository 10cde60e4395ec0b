"""One request's messages pass through: counted, with headers added, and in pieces.

Knows ASGI and nothing of what the request is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.observability.logs import request_id

ADDED: Final = "matte.headers"
"""Where in the scope a layer inside leaves headers that the answer is to have, whoever gives it: name to value."""

STRICT: Final[Mapping[str, str]] = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What keeps other websites from embedding an answer, and browsers from taking it for what it is not."""

# An answer that says nothing else about it is a photo, or says something of one or of this moment: nobody keeps it,
# and as a document of its own it loads and runs nothing.
_UNLESS_SAID: Final = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
_PIECE: Final = 256 * 1024  # bytes of an answer that are handed to the server at once


def _raw(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """As ASGI has them, names in small letters."""
    return {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}


_STRICT: Final = _raw(STRICT)


def completed(
    given: Iterable[tuple[bytes, bytes]], added: Mapping[bytes, bytes], *, close: bool
) -> list[tuple[bytes, bytes]]:
    """An answer's headers, those that are added, and those that every answer has. `close`: its connection ends."""
    ours = {**_STRICT, **added, b"x-request-id": request_id.get().encode("latin-1")}
    if close:
        ours[b"connection"] = b"close"
    theirs = [(name, value) for name, value in given if name not in ours]
    said = {name for name, _ in theirs}
    unsaid = [(name, value) for name, value in _UNLESS_SAID.items() if name not in said]
    return [*theirs, *ours.items(), *unsaid]


class MeasuredExchange:
    """Counts a request's bytes, adds headers, and ends the connection if the body is left unread: what still comes of
    that is `app.server.protocol`' matter."""

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
            message = await self._in_pieces(message)
        await self._send(message)

    def _complete(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """An answer's headers, with those that every answer has."""
        return completed(given, _raw(self._scope.get(ADDED, {})), close=self._unread)

    async def _in_pieces(self, message: Message) -> Message:
        """Send all but the last piece of a body, and return that. The server waits for the client after each: an
        answer that nobody reads keeps its place until its deadline, and does not lie in memory beyond all limits.
        """
        body = message.get("body", b"")
        self.bytes_out += len(body)
        last = max(0, (len(body) - 1) // _PIECE * _PIECE)
        for start in range(0, last, _PIECE):
            piece = body[start : start + _PIECE]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        return {**message, "body": body[last:]}
