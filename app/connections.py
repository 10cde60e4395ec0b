"""Sockets come in, and are closed when they keep silent, dawdle or are too many: what comes before a request.

uvicorn parses HTTP and runs the requests. It sets no limit to the head of a request, to the time that a connection
takes for it, or to how many connections there are; `Connection` does, and one server's share a `House`. What a
request may do once its head has come is `app.admission`'s matter. Knows no route and no photo.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import HeadTooLarge, HeadTooSlow, MalformedRequest, ServiceError, TooManyConnections
from app.intake import Intake
from app.problems import to_bytes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from uvicorn._types import ASGI3Application

    from app.house import House


def protocol_of(house: House) -> type[Connection]:
    """What uvicorn is to make of each new socket."""
    return type("ConnectionOfThisHouse", (Connection,), {"house": house})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits to what comes before and between its requests."""

    house: House  # set by `protocol_of`
    address: str
    intake: Intake

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._half_head = False
        self._head_came = False  # in the last piece
        self._at_head = False  # of a request that comes after all before it are answered
        self._refusal: bytes | None = None
        self._rest: socket.socket | None = None  # a hold on its own, where more comes after all is said
        self._fruitless = 0  # bytes since the last that were of a body or ended a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.intake = Intake(transport, self, self.house.buffers)
        try:
            self.house.enter(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.house.left(self)
        if self._rest:
            self.house.see_off(self._rest)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        self._head_came = False
        super().data_received(data)
        if self._head_came and self.cycle.more_body:
            self.flow.pause_reading()  # Until the body is asked for: who refuses a request doesn't want it.
        # Trailers after a body and extensions of its chunks count, too: the parser would keep them without end.
        if self._fruitless > self.house.head_bytes and not self.transport.is_closing():
            error = HeadTooLarge(
                f"At most {self.house.head_bytes} bytes are accepted before a request's body."
            )
            self._refuse(self.house.counted(error))
        elif self.transport.is_closing():
            self.house.leaves(self)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._half_head = True
        if self._refusal is None and (self.cycle is None or self.cycle.response_complete):
            self.house.heads(self)

    def on_headers_complete(self) -> None:
        self._fruitless = 0
        self._half_head = False
        if self._refusal is not None:  # Nothing is answered after that.
            return
        self._at_head = True
        super().on_headers_complete()
        self._at_head = False
        if self._refusal is not None:
            self.transport.write(self._refusal)
            self._see_off()
            return
        self._head_came = True
        self.intake.expect_body()
        outlet = Outlet(self.transport, self.cycle, partial(self._answered, self.cycle))
        self.cycle.transport = outlet  # type: ignore[assignment]
        self.house.works(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Called by uvicorn when a request's turn has come."""
        if self._at_head and self.house.turnstile:
            self._refusal = self.house.turnstile.refusal(cycle.scope)  # type: ignore[arg-type]
        if self._refusal is None:
            super()._start_asgi_task(cycle, app)
        else:
            cycle.response_started = cycle.response_complete = True

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
        elif self._half_head:
            self.house.heads(self)
        elif not more:
            self.house.idles(self)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is no HTTP."""
        self._refuse(self.house.counted(MalformedRequest(msg)))

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
        self.cycle.body.clear()
        self.flow.pause_reading()
        with suppress(OSError):  # There may be no descriptor left.
            self._rest = self.transport.get_extra_info("socket").dup()
        self.close()

    def _refuse(self, error: ServiceError) -> None:
        """As every error is answered, but without a request to do it for."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"".join(to_bytes(error)))
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
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
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
