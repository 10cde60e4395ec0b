"""Sockets on which all has been said come in; what still comes there is thrown away until the other side closes.

To close one at once would reset the connection, and most clients send all of a body before they look for its answer
(RFC 9112 §9.6). Nothing of it is read, nor is the event loop woken for it: every so often the kernel is told to
forget what has come. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import islice
from typing import Final

LINGER_S: Final = 5.0  # for so long at most; `app.server.connection_limits` looks at the clock
LINGER_BYTES: Final = 32_000_000  # and so much of a body

_LOOK_S: Final = 0.02
_AT_ONCE: Final = 256  # are looked at before others have their turn in the event loop
_WASTE: Final = bytearray(1 << 20)
# With this, Linux copies nothing. Elsewhere it means nothing for such sockets, and bytes do come into _WASTE.
_FORGET: Final = getattr(socket, "MSG_TRUNC", 0)


class Departing:
    """One such socket."""

    def __init__(self, sock: socket.socket, gone: Callable[[Departing], None]) -> None:
        self.wasted = 0  # bytes
        self._sock = sock
        self._gone = gone

    def end(self) -> None:
        """Say that nothing follows."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def forget(self) -> None:
        """Throw away what has come."""
        try:
            came = self._sock.recv_into(_WASTE, flags=_FORGET)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            came = 0
        self.wasted += came
        if not came or self.wasted > LINGER_BYTES:
            self.abort()

    def abort(self) -> None:
        """Close it, whatever has been heard of the other side."""
        self._sock.close()
        self._gone(self)


class Departures:
    """Those of one event loop."""

    def __init__(self, gone: Callable[[Departing], object]) -> None:
        """`gone` is told of each when it is closed, once."""
        self._all: dict[Departing, None] = {}  # The longest not looked at first.
        self._told = gone
        self._look: asyncio.TimerHandle | None = None

    def see_off(self, sock: socket.socket) -> Departing | None:
        """Say that nothing follows; close `sock` in time. None: it is closed already."""
        sock.setblocking(False)
        departing = Departing(sock, self._gone)
        self._all[departing] = None
        departing.end()
        if self._look is None:
            self._look_later()
        return departing if departing in self._all else None

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_around)

    def _look_around(self) -> None:
        for departing in list(islice(self._all, _AT_ONCE)):
            del self._all[departing]
            self._all[departing] = None
            departing.forget()
        self._look = None
        if self._all:
            self._look_later()

    def _gone(self, departing: Departing) -> None:
        if departing in self._all:
            del self._all[departing]
            self._told(departing)
