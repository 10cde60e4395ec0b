"""What a socket receives comes in, and goes out in pieces.

Reads little where a head is due, so that a request can be refused before its body has been touched, and much of a
body that is wanted. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_HEAD: Final = 16 * 1024
_BODY: Final = 256 * 1024


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
        self.body = memoryview(bytearray(_BODY))
        self.head = self.body[:_HEAD]


class Intake(asyncio.BufferedProtocol):
    """Reads from `transport` in place of `taker`."""

    def __init__(self, transport: asyncio.Transport, taker: Taker, buffers: Buffers) -> None:
        self._taker = taker
        self._buffers = buffers
        self._buffer = buffers.head
        self.eof_received = taker.eof_received  # type: ignore[method-assign]
        self.connection_lost = taker.connection_lost  # type: ignore[method-assign]
        self.pause_writing = taker.pause_writing  # type: ignore[method-assign]
        self.resume_writing = taker.resume_writing  # type: ignore[method-assign]
        transport.set_protocol(self)

    def expect_head(self) -> None:
        self._buffer = self._buffers.head

    def expect_body(self) -> None:
        self._buffer = self._buffers.body

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._taker.data_received(bytes(self._buffer[:nbytes]))
