"""New sockets come in. Who brings the head of a request that would find no place is answered on the doorstep.

Of all others uvicorn makes a connection. In a flood, to make one and to wake the event loop for each of its steps
would cost several times as much as the answer: whoever comes then is seen to some milliseconds later, with all who
have come by then. Knows no route.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.house import House

_BACKLOG: Final = 2048  # sockets that wait outside
_AT_ONCE: Final = 64  # are refused before others have their turn in the event loop
_PAUSE_S: Final = 0.02
_NO_MORE_FILES_S: Final = 0.1
_HEAD_BYTES: Final = 16 * 1024

_log = logging.getLogger(__name__)


class Door:
    """Of one listening socket. uvicorn takes it for an asyncio.Server."""

    def __init__(
        self, listener: socket.socket, house: House, connection: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """Opens it. `connection` makes the protocol of a socket that is let in."""
        self.sockets = (listener,)
        self._listener = listener
        self._house = house
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._starved = False  # of file descriptors
        self._entering: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        self._open()

    def close(self) -> None:
        """Nobody is let in any more; the socket is left open."""
        if self._pause is None:
            self._loop.remove_reader(self._listener)
        else:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Until those who were answered have had time to read it."""
        await self._house.seen_off()

    def _open(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._look)

    def _close_for(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._open)

    def _look(self) -> None:
        """Called by the event loop when somebody waits outside. One is let in at a time, many are refused."""
        for refused in range(_AT_ONCE):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                if not refused:  # Another process was faster.
                    return
                break
            except ConnectionAbortedError:
                return
            except OSError as error:
                if not self._starved:
                    _log.warning("no connection can be taken: %s", error.strerror)
                self._starved = True
                self._close_for(_NO_MORE_FILES_S)
                return
            self._starved = False
            sock.setblocking(False)
            refusal = self._refusal(sock, address)
            if refusal is None:
                self._let_in(sock)
                return
            self._house.see_off(sock, refusal)
        self._close_for(_PAUSE_S)

    def _refusal(self, sock: socket.socket, address: tuple[Any, ...]) -> bytes | None:
        turnstile = self._house.turnstile
        if turnstile is None or self._house.full or not turnstile.may_refuse({"client": address[:2]}):
            return None
        try:
            scope = scope_of(sock.recv(_HEAD_BYTES, socket.MSG_PEEK), address)
        except OSError:  # Nothing has come yet, or nothing ever will.
            return None
        return turnstile.refusal(scope) if scope else None

    def _let_in(self, sock: socket.socket) -> None:
        entering = self._loop.create_task(self._enter(sock))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)

    async def _enter(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connection, sock)
        except OSError:
            sock.close()


def scope_of(data: bytes, client: tuple[Any, ...]) -> Scope | None:
    """As much as `app.turnstile` asks for of the request that `data` begins with. None: there is no whole head of one
    in it."""
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
        path = httptools.parse_url(head.url).path.decode("ascii") if head.complete else ""
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError):
        return None
    if not head.complete:
        return None
    return {
        "type": "http",
        "method": parser.get_method().decode("ascii"),
        "path": unquote(path),
        "headers": head.headers,
        "client": client[:2],
    }


class _Head:
    """What httptools calls for each piece."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
