"""Sockets come in, and are closed when they keep silent, dawdle or are too many: what comes before a request.

uvicorn parses HTTP and runs the requests. It sets no limit to the head of a request, to the time that a connection
takes for it, or to how many connections there are; `Connection` does, and one server's share a `House`. What a
request may do once its head has come is `app.admission`'s matter. Knows no route and no photo.
"""

from __future__ import annotations

import asyncio
import resource
import uuid
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import HeadTooLarge, HeadTooSlow, MalformedRequest, ServiceError, TooManyConnections
from app.logs import request_id
from app.problems import to_response

if TYPE_CHECKING:
    from app.metrics import Metrics
    from app.settings import Settings

FILES_KEPT_FREE: Final = 64  # descriptors for the model, the logs and the listening socket
_SWEEP_S: Final = 0.5


class House:
    """The connections of one server: a new one always finds room, at the cost of one that does nothing.

    When there are too many, the one goes that has waited longest for a request of its client. If all are busy, one of
    the address that has the most of them goes, unless that is the newcomer's own; then the newcomer is refused. So
    neither silence nor a crowd keeps others, or a health check, from being heard.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.head_bytes = settings.max_head_bytes
        self._head_s = settings.head_timeout_ms / 1000
        self._keep_alive_s = settings.keep_alive_ms / 1000
        self._most = max(1, min(settings.max_connections, _files_allowed() - FILES_KEPT_FREE))
        self._metrics = metrics
        self._since: dict[Connection, float] = {}  # Those without a request, the longest without one first.
        self._begun: set[Connection] = (
            set()
        )  # Of these, those whose next request has begun to come, or has to.
        self._busy: dict[Connection, None] = {}
        self._leaving: dict[Connection, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        metrics.connections.set_function(lambda: len(self._since) + len(self._busy) + len(self._leaving))

    def protocol(self) -> type[Connection]:
        """What uvicorn is to make of each new socket."""
        return type("ConnectionOfThisHouse", (Connection,), {"house": self})

    def enter(self, connection: Connection) -> None:
        """A new socket. Raises TooManyConnections."""
        if len(self._since) + len(self._busy) >= self._most:
            victim = self._victim(connection.address)
            if victim is None:
                raise self.counted(TooManyConnections(f"There are {self._most} connections already."))
            self._metrics.rejected.labels("connection_displaced").inc()
            victim.abort()
            self.left(victim)
        self.heads(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look_around)

    def heads(self, connection: Connection) -> None:
        """From now on the head of a request is due."""
        self._wait(connection)
        self._begun.add(connection)

    def idles(self, connection: Connection) -> None:
        """A request is answered, and another one may come."""
        self._wait(connection)
        self._begun.discard(connection)

    def works(self, connection: Connection) -> None:
        """A head has come."""
        self._since.pop(connection, None)
        self._busy[connection] = None

    def leaves(self, connection: Connection) -> None:
        """It is being closed. A client that does not read what was left for it does not keep it open for ever."""
        self.left(connection)
        self._leaving[connection] = asyncio.get_running_loop().time()

    def left(self, connection: Connection) -> None:
        for held in (self._since, self._busy, self._leaving):
            held.pop(connection, None)
        self._begun.discard(connection)

    def counted(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.reason).inc()
        return error

    def _wait(self, connection: Connection) -> None:
        self._busy.pop(connection, None)
        self._since.pop(connection, None)  # It goes to the end.
        self._since[connection] = asyncio.get_running_loop().time()

    def _victim(self, newcomer: str) -> Connection | None:
        if self._since:
            return next(iter(self._since))
        crowds = Counter(connection.address for connection in self._busy)
        largest, count = crowds.most_common(1)[0]
        if count <= crowds[newcomer] + 1:
            return None
        return next(connection for connection in self._busy if connection.address == largest)

    def _look_around(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection, since in list(self._since.items()):
            if connection in self._begun:
                if now - since > self._head_s:
                    connection.refuse_slow_head()
            elif now - since > self._keep_alive_s:
                connection.close()
        for connection, since in list(self._leaving.items()):
            if now - since > self._head_s:
                connection.abort()
        anybody = self._since or self._busy or self._leaving
        self._sweep = loop.call_later(_SWEEP_S, self._look_around) if anybody else None


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits to what comes before and between its requests."""

    house: House  # set by House.protocol
    address: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._half_head = False
        self._fruitless = 0  # bytes since the last that were of a body or ended a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        try:
            self.house.enter(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.house.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        super().data_received(data)
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
        if self.cycle is None or self.cycle.response_complete:
            self.house.heads(self)

    def on_headers_complete(self) -> None:
        self._fruitless = 0
        self._half_head = False
        super().on_headers_complete()
        self.house.works(self)

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless = 0
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
        self.transport.abort()

    def _refuse(self, error: ServiceError) -> None:
        """As every error is answered, but without a request to do it for."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_answer(error))
        self.close()


def _answer(error: ServiceError) -> bytes:
    token = request_id.set(uuid.uuid4().hex)
    try:
        response = to_response(error)
    finally:
        request_id.reset(token)
    head = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
    head += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*head, b"connection: close", b"", bytes(response.body)])


def _files_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft
