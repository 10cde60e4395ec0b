"""uvicorn's connection with limits: size and time of a request's head, half-closed clients, lingering close.

uvicorn parses HTTP and runs the requests. It limits neither the head of a request, nor the time that a connection
takes for it, nor the number of connections. `Connection` does, together with the server's `ConnectionLimiter`.
What a request may do once its head has come is decided in `app.middleware.admission`. Knows no route and no photo.
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

    from app.server.connection_limits import ConnectionLimiter


_PROBE_S: Final = 0.1  # how often a client that sends no more is probed
_REASON_CHARS: Final = 200  # characters of a reason, which may quote the client
_STATUS_LINE_START: Final = b"HTTP/1.1 "  # of every answer


def protocol_class(limiter: ConnectionLimiter) -> type[Connection]:
    """The protocol that uvicorn makes of each new socket."""
    return type("LimitedConnection", (Connection,), {"limiter": limiter, "buffers": Buffers()})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits to what comes before and between its requests."""

    limiter: ConnectionLimiter  # set by `protocol_class`, as `buffers` is
    buffers: Buffers
    address: str
    read_buffer: ReadBuffer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Framing(self)  # type: ignore[assignment]
        self._head_begun = False
        self._head_complete = False  # in the last piece
        self._running: RequestResponseCycle | None = None  # the request being answered, or answered last
        self._final_response: bytes | None = None  # set once no more requests are taken
        self._held_socket: socket.socket | None = None  # a duplicate, to linger on after the close
        self._probe: socket.socket | None = None  # a duplicate, while the client is half-closed
        self._bytes_since_progress = 0  # since the last byte of a body or the end of a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.read_buffer = ReadBuffer(transport, self, self.buffers)
        try:
            self.limiter.add(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.limiter.remove(self)
        if self._held_socket:
            self.limiter.linger(self._held_socket)
        if self._probe:
            self._probe.close()
            self._probe = None
        self.parser.close()  # type: ignore[attr-defined]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._final_response is not None:
            return
        self._unset_keepalive_if_required()
        self._bytes_since_progress += len(data)
        self._head_complete = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as reason:
            if not self.transport.is_closing():
                malformed = MalformedRequest(
                    f"This is not a request that HTTP/1.1 allows: {str(reason)[:_REASON_CHARS]}"
                )
                self._refuse(self.limiter.count_rejection(malformed), linger=True)
            return
        if self._head_complete and self.cycle.more_body:
            self.flow.pause_reading()  # until the app asks for the body: a refused request's body is not wanted
        # Trailers after a body and extensions of its chunks count, too: the parser would keep them without end.
        if self._bytes_since_progress > self.limiter.head_bytes and not self.transport.is_closing():
            error = HeadTooLarge(
                f"At most {self.limiter.head_bytes:,} bytes are accepted before a request's body."
            )
            self._refuse(self.limiter.count_rejection(error), linger=True)
        elif self.transport.is_closing():
            self.limiter.mark_closing(self)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It has left, or it has half-closed the connection (`nc -N`) and waits for its
        answers: only writing to it shows which. So the first bytes, the same for all answers, are written now, and
        nothing is computed for clients that left. Returns whether the connection stays open."""
        running = self._running
        if self.transport.is_closing() or running is None or running.response_complete:
            return False
        if running is self.cycle and running.more_body:
            return False
        self._drop_cut_off()
        if self._final_response is None:
            last = self.pipeline[0][0] if self.pipeline else running
            last.keep_alive = False
        if not running.response_started:
            running.transport.send_start()  # type: ignore[attr-defined]
            with suppress(OSError):  # There may be no descriptor left.
                self._probe = self.transport.get_extra_info("socket").dup()
            self._probe_client()
        return True

    def _probe_client(self) -> None:
        """Abort once the client turns out to have left: its system answers what was written by a reset."""
        if self._probe is None or self.transport.is_closing():
            return
        if self._probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        else:
            self.loop.call_later(_PROBE_S, self._probe_client)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True
        if self.cycle is None or self.cycle.response_complete:
            self.limiter.await_head(self)

    def on_headers_complete(self) -> None:
        self._bytes_since_progress = 0
        self._head_begun = False
        super().on_headers_complete()
        self._head_complete = True
        self.read_buffer.expect_body()
        transport = ResponseTransport(self.transport, self.cycle, partial(self._answered, self.cycle))
        self.cycle.transport = transport  # type: ignore[assignment]
        self.limiter.mark_busy(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by uvicorn when a request's turn has come."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._bytes_since_progress = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._bytes_since_progress = 0
        self.read_buffer.expect_head()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        more = bool(self.pipeline)
        super().on_response_complete()
        if self.transport.is_closing():
            self.limiter.mark_closing(self)
        elif more:
            return
        elif self._final_response is not None:
            self._send_final_response()
        elif self._head_begun:
            self.limiter.await_head(self)
        else:
            self.limiter.mark_idle(self)

    def refuse_slow_head(self) -> None:
        """Answer 408 to a client that has begun a request; close the connection of one that has sent nothing."""
        if self._head_begun:
            self._refuse(
                self.limiter.count_rejection(HeadTooSlow("The head of the request took too long to come."))
            )
        else:
            self.close()

    def close(self) -> None:
        self.transport.close()
        self.limiter.mark_closing(self)

    def abort(self) -> None:
        """Close without sending what was left to be sent."""
        if self._held_socket:
            self._held_socket.close()
            self._held_socket = None
        self.transport.abort()
        self.limiter.remove(self)

    def _answered(self, cycle: RequestResponseCycle) -> None:
        """Called after the last answer, or one that broke off. More of a body may still be coming."""
        if cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._linger()
        else:
            self.close()

    def _linger(self) -> None:
        """Close when all has been written, and linger: the client may still be sending (see lingering_close)."""
        if self.cycle:
            self.cycle.body.clear()
        self.flow.pause_reading()
        with suppress(OSError):  # There may be no descriptor left.
            self._held_socket = self.transport.get_extra_info("socket").dup()
        self.close()

    def _refuse(self, error: ServiceError, *, linger: bool = False) -> None:
        """Answer an error that belongs to no request, after the answers to all complete requests. `linger`: the
        client may be sending more."""
        self._final_response = b"".join(to_bytes(error))
        self.flow.pause_reading()
        running = self._running
        if running is None or running.response_complete:
            self._send_final_response(linger=linger)
        elif running is not self.cycle or not running.more_body:
            self._drop_cut_off()
        elif running.response_started:
            self.close()
        else:
            running.disconnected = True
            running.message_event.set()
            self._send_final_response(linger=linger)

    def _drop_cut_off(self) -> None:
        """Drop the last pipelined request if its body will never be complete."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()

    def _send_final_response(self, *, linger: bool = True) -> None:
        self.transport.write(self._final_response or b"")
        if linger:
            self._linger()
        else:
            self.close()


class ResponseTransport:
    """The transport that uvicorn's cycle writes to. It calls `close` instead of closing, and sends the head together
    with what follows, so that the client wakes once."""

    def __init__(
        self, transport: asyncio.Transport, cycle: RequestResponseCycle, close: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._cycle = cycle
        self._close = close
        self._head_due = cycle.scope["method"] != "HEAD"  # a HEAD answer has no body to wait for
        self._head = b""
        self._start_sent = False
        self.is_closing = transport.is_closing

    def send_start(self) -> None:
        """Send the first bytes, which are the same whatever the answer."""
        self._transport.write(_STATUS_LINE_START)
        self._start_sent = True

    def write(self, data: bytes) -> None:
        if self._start_sent:
            data, self._start_sent = data.removeprefix(_STATUS_LINE_START), False
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


class DataReceiver(Protocol):
    """Gets the pieces of data, and the other events of asyncio's protocols."""

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Buffers:
    """The memory that all sockets of one event loop are read into, one after the other."""

    def __init__(self) -> None:
        self.body = memoryview(bytearray(_BODY))
        self.head = self.body[:_HEAD]


class ReadBuffer(asyncio.BufferedProtocol):
    """Reads `transport` for `receiver`: little where a head is due, so that a request can be refused before its
    body is read, and much of a body."""

    def __init__(self, transport: asyncio.Transport, receiver: DataReceiver, buffers: Buffers) -> None:
        self._receiver = receiver
        self._buffers = buffers
        self._buffer = buffers.head
        self.eof_received = receiver.eof_received  # type: ignore[method-assign]
        self.connection_lost = receiver.connection_lost  # type: ignore[method-assign]
        self.pause_writing = receiver.pause_writing  # type: ignore[method-assign]
        self.resume_writing = receiver.resume_writing  # type: ignore[method-assign]
        transport.set_protocol(self)

    def expect_head(self) -> None:
        self._buffer = self._buffers.head

    def expect_body(self) -> None:
        self._buffer = self._buffers.body

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receiver.data_received(bytes(self._buffer[:nbytes]))
