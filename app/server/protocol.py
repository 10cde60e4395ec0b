"""uvicorn's connection with limits: size and time of a request's head, half-closed clients, lingering close.

uvicorn parses HTTP and runs the requests. It limits neither the head of a request, nor the time that a connection
takes for it, nor the number of connections. `Connection` does, together with the server's `House`. What a request
may do once its head has come is decided in `app.middleware.admission`. Knows no route and no photo.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import HeadTooLarge, HeadTooSlow, MalformedRequest, ServiceError, TooManyConnections
from app.middleware.error_responses import to_bytes
from app.server.request_framing import Framing

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn._types import ASGI3Application

    from app.server.connection_limits import House


_LOOK_S: Final = 0.1  # how often it is asked whether a client that sends no more is still there
_SHOWN: Final = 200  # letters of a reason, which may hold what the client wrote
_BEGINNING: Final = b"HTTP/1.1 "  # of every answer


def protocol_of(house: House) -> type[Connection]:
    """What uvicorn is to make of each new socket."""
    return type("ConnectionOfThisHouse", (Connection,), {"house": house, "buffers": Buffers()})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits to what comes before and between its requests."""

    house: House  # set by `protocol_of`, as `buffers` is
    buffers: Buffers
    address: str
    intake: Intake

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Framing(self)  # type: ignore[assignment]
        self._half_head = False
        self._head_came = False  # in the last piece
        self._running: RequestResponseCycle | None = None  # the request whose turn it is, or was
        self._last_words: bytes | None = None  # once nothing more is taken: what is said before the end
        self._rest: socket.socket | None = None  # a hold on its own, where more comes after all is said
        self._pulse: socket.socket | None = None  # another one, of a client that sends no more
        self._fruitless = 0  # bytes since the last that were of a body or ended a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.intake = Intake(transport, self, self.buffers)
        try:
            self.house.enter(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.house.left(self)
        if self._rest:
            self.house.see_off(self._rest)
        if self._pulse:
            self._pulse.close()
            self._pulse = None
        self.parser.close()  # type: ignore[attr-defined]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._last_words is not None:
            return
        self._unset_keepalive_if_required()
        self._fruitless += len(data)
        self._head_came = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as reason:
            if not self.transport.is_closing():
                told = MalformedRequest(f"This is not a request that HTTP/1.1 allows: {str(reason)[:_SHOWN]}")
                self._refuse(self.house.counted(told), see_off=True)
            return
        if self._head_came and self.cycle.more_body:
            self.flow.pause_reading()  # Until the body is asked for: who refuses a request doesn't want it.
        # Trailers after a body and extensions of its chunks count, too: the parser would keep them without end.
        if self._fruitless > self.house.head_bytes and not self.transport.is_closing():
            error = HeadTooLarge(
                f"At most {self.house.head_bytes:,} bytes are accepted before a request's body."
            )
            self._refuse(self.house.counted(error), see_off=True)
        elif self.transport.is_closing():
            self.house.leaves(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It may have left, or have half-closed the connection (`nc -N`) and wait for its
        answers: only what is written to it shows which. What all answers begin with is written at once, so that
        nothing is computed for those who left. Returns whether the connection stays open."""
        running = self._running
        if self.transport.is_closing() or running is None or running.response_complete:
            return False
        if running is self.cycle and running.more_body:
            return False
        self._drop_cut_off()
        if self._last_words is None:
            last = self.pipeline[0][0] if self.pipeline else running
            last.keep_alive = False
        if not running.response_started:
            running.transport.begin()  # type: ignore[attr-defined]
            with suppress(OSError):  # There may be no descriptor left.
                self._pulse = self.transport.get_extra_info("socket").dup()
            self._feel_pulse()
        return True

    def _feel_pulse(self) -> None:
        """End the connection once the client turns out to have left: its system answers what comes by a reset."""
        if self._pulse is None or self.transport.is_closing():
            return
        if self._pulse.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        else:
            self.loop.call_later(_LOOK_S, self._feel_pulse)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._half_head = True
        if self.cycle is None or self.cycle.response_complete:
            self.house.heads(self)

    def on_headers_complete(self) -> None:
        self._fruitless = 0
        self._half_head = False
        super().on_headers_complete()
        self._head_came = True
        self.intake.expect_body()
        outlet = Outlet(self.transport, self.cycle, partial(self._answered, self.cycle))
        self.cycle.transport = outlet  # type: ignore[assignment]
        self.house.works(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by uvicorn when a request's turn has come."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless = 0
        self.intake.expect_head()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        more = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            self.house.leaves(self)
        elif more:
            return
        elif self._last_words is not None:
            self._say_last_words()
        elif self._half_head:
            self.house.heads(self)
        else:
            self.house.idles(self)

    def refuse_slow_head(self) -> None:
        """Say so to a client that has begun a request; to one that has said nothing, nothing is said."""
        if self._half_head:
            self._refuse(self.house.counted(HeadTooSlow("The head of the request took too long to come.")))
        else:
            self.close()

    def close(self) -> None:
        self.transport.close()
        self.house.leaves(self)

    def abort(self) -> None:
        """Without sending what was left to be sent."""
        if self._rest:
            self._rest.close()
            self._rest = None
        self.transport.abort()
        self.house.left(self)

    def _answered(self, cycle: RequestResponseCycle) -> None:
        """After an answer that is the last, or has broken off. Of a body, more may still be coming."""
        if cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._see_off()
        else:
            self.close()

    def _see_off(self) -> None:
        """End the connection when all has been written. Its socket is held on to: the house sees it off."""
        if self.cycle:
            self.cycle.body.clear()
        self.flow.pause_reading()
        with suppress(OSError):  # There may be no descriptor left.
            self._rest = self.transport.get_extra_info("socket").dup()
        self.close()

    def _refuse(self, error: ServiceError, *, see_off: bool = False) -> None:
        """As every error is answered, but without a request to do it for; after the answers to all requests that have
        come whole. `see_off`: more may be coming."""
        self._last_words = b"".join(to_bytes(error))
        self.flow.pause_reading()
        running = self._running
        if running is None or running.response_complete:
            self._say_last_words(see_off=see_off)
        elif running is not self.cycle or not running.more_body:
            self._drop_cut_off()
        elif running.response_started:
            self.close()
        else:
            running.disconnected = True
            running.message_event.set()
            self._say_last_words(see_off=see_off)

    def _drop_cut_off(self) -> None:
        """Of the requests that wait for their turn, the last if its body will never be whole."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()

    def _say_last_words(self, *, see_off: bool = True) -> None:
        self.transport.write(self._last_words or b"")
        if see_off:
            self._see_off()
        else:
            self.close()


class Outlet:
    """What uvicorn's cycle writes an answer to, instead of to the transport: it is not closed at once, but `close` is
    called, and the head goes out with what follows it, which wakes the client once."""

    def __init__(
        self, transport: asyncio.Transport, cycle: RequestResponseCycle, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._cycle = cycle
        self._close = close
        self._head_due = cycle.scope["method"] != "HEAD"  # There, nothing follows.
        self._head = b""
        self._begun = False
        self.is_closing = transport.is_closing

    def begin(self) -> None:
        """Send the first bytes, which are the same whatever the answer."""
        self._transport.write(_BEGINNING)
        self._begun = True

    def write(self, data: bytes) -> None:
        if self._begun:
            data, self._begun = data.removeprefix(_BEGINNING), False
        if self._head:
            self._transport.writelines([self._head, data])
            self._head = b""
        elif self._head_due and self._cycle.response_started:  # No "100 Continue" before it waits.
            self._head_due, self._head = False, data
        else:
            self._transport.write(data)

    def close(self) -> None:
        self.write(b"")
        self._close()


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
