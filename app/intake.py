"""What a socket receives comes in: pieces of requests go out, or nothing, once nobody wants the rest of them.

Reads little where a head is due, so that a request can be refused before its body has been touched, and much of a
body that is wanted. What comes after a refusal is written over, not kept and not parsed, until the other side has
said all: to close the socket at once would reset the connection, and most clients send all of a body before they look
for its answer (RFC 9112 §9.6). Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

LINGER_S: Final = 5.0  # so long at most a refused body is read away; `app.house` looks at the clock
LINGER_BYTES: Final = 32_000_000  # and so many bytes

_HEAD: Final = 16 * 1024
_BODY: Final = 256 * 1024
_WASTE: Final = 64 * 1024  # Much of it at once would push the photos' pixels out of the caches.


class Taker(Protocol):
    """Who gets the pieces, and hears of the rest as asyncio's protocols do."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Buffers:
    """What the sockets of one event loop are read into, one after the other."""

    def __init__(self) -> None:
        whole = memoryview(bytearray(_BODY))
        self.head, self.body, self.waste = whole[:_HEAD], whole, whole[:_WASTE]


class Intake(asyncio.BufferedProtocol):
    """Reads from `transport` in place of `taker`. `discarded` hears at the end how many bytes were read away."""

    def __init__(
        self,
        transport: asyncio.Transport,
        taker: Taker,
        *,
        buffers: Buffers,
        discarded: Callable[[int], object],
    ) -> None:
        self._transport = transport
        self._taker = taker
        self._buffers = buffers
        self._buffer = buffers.head
        self._discarded = discarded
        self._wasted = 0
        self.lingers = False
        self.eof_received = taker.eof_received  # type: ignore[method-assign]
        self.pause_writing = taker.pause_writing  # type: ignore[method-assign]
        self.resume_writing = taker.resume_writing  # type: ignore[method-assign]
        transport.set_protocol(self)

    def expect_head(self) -> None:
        self._buffer = self._buffers.head

    def expect_body(self) -> None:
        self._buffer = self._buffers.body

    def linger(self) -> None:
        """All has been said. The other side learns it at once, and what it still sends is read away."""
        self.lingers = True
        self._buffer = self._buffers.waste
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self.lingers:
            self._taker.data_received(bytes(self._buffer[:nbytes]))
            return
        self._wasted += nbytes
        if self._wasted > LINGER_BYTES:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._discarded(self._wasted)
        self._taker.connection_lost(exc)
