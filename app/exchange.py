"""One request's messages pass through: counted, with headers added, in pieces, and to the end of the body.

Knows ASGI and nothing of what the request is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from app.logs import request_id

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
_UNLESS_SAID: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
# A refused upload is read away, so long and so many bytes, before the connection closes: closing at once would reset
# it, and most clients send all of the body before they look for the answer.
_LINGER_S: Final = 5.0
_LINGER_BYTES: Final = 32_000_000
_PIECE: Final = 256 * 1024  # bytes of an answer that are handed to the server at once


class Exchange:
    """Counts a request's bytes, adds headers, and closes the connection if the body is left unread."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._scope = scope
        self._receive = receive
        self._send = send
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._waits_to_send = "expect" in headers
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._waits_to_send = False
        self.bytes_in += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = request_id.get()
            headers.update(STRICT)
            headers.update(self._scope.get(ADDED, {}))
            for name, value in _UNLESS_SAID.items():
                headers.setdefault(name, value)
            if self._unread:
                headers["Connection"] = "close"
        elif message["type"] == "http.response.body":
            message = await self._in_pieces(message)
            if self._unread and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._read_away()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

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

    async def _read_away(self) -> None:
        if self._waits_to_send:
            return  # It asked first (Expect: 100-continue), and has its answer.
        most = self.bytes_in + _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while self._unread and self.bytes_in < most:
                    await self.receive()
