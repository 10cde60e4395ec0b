"""Lingering close: discard what a client still sends after its last answer, until it closes.

Closing the socket at once would reset the connection, and most clients send all of a body before they read the answer
(RFC 9112 §9.6). The data is not read, nor is the event loop woken for it: every so often the kernel is told to
discard what has arrived. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import islice
from typing import Final

LINGER_S: Final = 5.0  # seconds at most, as `app.server.connection_limits` counts
LINGER_BYTES: Final = 32_000_000  # at most

_DISCARD_EVERY_S: Final = 0.02
_AT_ONCE: Final = 256  # sockets per turn of the event loop
_SCRAP: Final = bytearray(1 << 20)
# With this, Linux copies nothing. Elsewhere it means nothing for such sockets, and bytes do come into _SCRAP.
_DISCARD: Final = getattr(socket, "MSG_TRUNC", 0)


class LingeringSocket:
    """One socket whose last answer has been sent."""

    def __init__(self, sock: socket.socket, on_closed: Callable[[LingeringSocket], None]) -> None:
        self.discarded_bytes = 0
        self._sock = sock
        self._on_closed = on_closed

    def end(self) -> None:
        """Tell the client that nothing follows."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def discard(self) -> None:
        """Discard what has arrived."""
        try:
            came = self._sock.recv_into(_SCRAP, flags=_DISCARD)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            came = 0
        self.discarded_bytes += came
        if not came or self.discarded_bytes > LINGER_BYTES:
            self.abort()

    def abort(self) -> None:
        """Close it now."""
        self._sock.close()
        self._on_closed(self)


class LingeringSockets:
    """The lingering sockets of one event loop."""

    def __init__(self, on_closed: Callable[[LingeringSocket], object]) -> None:
        """`on_closed` is called once per socket, when it is closed."""
        self._all: dict[LingeringSocket, None] = {}  # the one served longest ago first
        self._on_closed = on_closed
        self._timer: asyncio.TimerHandle | None = None

    def linger(self, sock: socket.socket) -> LingeringSocket | None:
        """Tell the client that nothing follows, and close `sock` in time. Returns None if it is closed already."""
        sock.setblocking(False)
        lingering = LingeringSocket(sock, self._remove)
        self._all[lingering] = None
        lingering.end()
        if self._timer is None:
            self._schedule()
        return lingering if lingering in self._all else None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_DISCARD_EVERY_S, self._discard_all)

    def _discard_all(self) -> None:
        for lingering in list(islice(self._all, _AT_ONCE)):
            del self._all[lingering]
            self._all[lingering] = None
            lingering.discard()
        self._timer = None
        if self._all:
            self._schedule()

    def _remove(self, lingering: LingeringSocket) -> None:
        if lingering in self._all:
            del self._all[lingering]
            self._on_closed(lingering)
