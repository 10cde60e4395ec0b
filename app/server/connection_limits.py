"""Limit connections: how many, how long one may be idle, how long a head may take. Knows no HTTP and no route."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

from app.errors import ServiceError, TooManyConnections
from app.server.lingering_close import LINGER_S, LingeringSocket, LingeringSockets

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from app.observability.metrics import Metrics
    from app.settings import Settings

FILES_KEPT_FREE: Final = 64  # descriptors for the model, the logs and the listening socket
_SWEEP_S: Final = 0.5


class Connection(Protocol):
    """The part of `app.server.protocol.Connection` that is used here."""

    address: str

    def refuse_slow_head(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class ConnectionLimiter:
    """The connections of one server.

    When there are too many, the one that has been idle longest is closed for a new one, or else the one that has
    lingered longest. If all are busy, one of the address that has most of them is closed, unless that is the
    newcomer's own address; then the newcomer is refused. So neither idle connections nor many connections of one
    client can lock out other clients or a health check.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.head_bytes = settings.max_head_bytes
        self._head_s = settings.head_timeout_ms / 1000
        self._keep_alive_s = settings.keep_alive_ms / 1000
        self._most = max(1, min(settings.max_connections, _files_allowed() - FILES_KEPT_FREE))
        self._metrics = metrics
        self._waiting: dict[Connection, float] = {}  # no request is running; the longest waiting first
        self._head_due: set[Connection] = set()  # of these, those whose next head is due
        self._busy: dict[Connection, None] = {}
        self._lingering: dict[LingeringSocket, float] = {}
        self._closing: dict[Connection, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._lingering_sockets = LingeringSockets(self._on_lingering_closed)
        self._all: tuple[dict[Any, Any], ...] = (self._waiting, self._busy, self._lingering, self._closing)
        metrics.connections.set_function(lambda: sum(map(len, self._all)))

    def add(self, connection: Connection) -> None:
        """Register a new connection. Raises TooManyConnections."""
        if len(self._waiting) + len(self._busy) + len(self._lingering) >= self._most:
            displaced = self._connection_to_close(connection.address)
            if displaced is None:
                raise self.count_rejection(TooManyConnections(f"There are {self._most} connections already."))
            self._metrics.rejected.labels("connection_displaced").inc()
            displaced.abort()
        self.await_head(connection)
        self._schedule_sweep()

    def await_head(self, connection: Connection) -> None:
        """A head is due from now on."""
        self._wait(connection)
        self._head_due.add(connection)

    def mark_idle(self, connection: Connection) -> None:
        """A request has been answered; another one may come."""
        self._wait(connection)
        self._head_due.discard(connection)

    def mark_busy(self, connection: Connection) -> None:
        """A head has come."""
        self._waiting.pop(connection, None)
        self._busy[connection] = None

    def mark_closing(self, connection: Connection) -> None:
        """The connection is being closed. It is aborted later if the client does not read what was left for it."""
        self.remove(connection)
        self._closing[connection] = time.monotonic()

    def remove(self, connection: Connection) -> None:
        for held in self._all:
            held.pop(connection, None)
        self._head_due.discard(connection)

    def linger(self, sock: socket.socket) -> None:
        """Keep a duplicate of the socket open for a while: a body may still be coming."""
        if lingering := self._lingering_sockets.linger(sock):
            self._lingering[lingering] = time.monotonic()
            self._schedule_sweep()

    async def wait_lingering(self) -> None:
        """Wait until no socket lingers any more."""
        while self._lingering:
            await asyncio.sleep(_SWEEP_S / 10)

    def count_rejection(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.reason).inc()
        return error

    def _wait(self, connection: Connection) -> None:
        self._busy.pop(connection, None)
        self._waiting.pop(connection, None)  # It goes to the end.
        self._waiting[connection] = time.monotonic()

    def _on_lingering_closed(self, lingering: LingeringSocket) -> None:
        self._lingering.pop(lingering, None)
        self._metrics.discarded_bytes.inc(lingering.discarded_bytes)

    def _connection_to_close(self, newcomer: str) -> Connection | LingeringSocket | None:
        idle: Iterator[Connection | LingeringSocket] = chain(self._waiting, self._lingering)
        if longest := next(idle, None):
            return longest
        per_address = Counter(connection.address for connection in self._busy)
        largest, count = per_address.most_common(1)[0]
        if count <= per_address[newcomer] + 1:
            return None
        return next(connection for connection in self._busy if connection.address == largest)

    def _close_expired(self) -> None:
        now = time.monotonic()
        for connection, since in list(self._waiting.items()):
            if connection in self._head_due:
                if now - since > self._head_s:
                    connection.refuse_slow_head()
            elif now - since > self._keep_alive_s:
                connection.close()
        expiring: list[tuple[Connection | LingeringSocket, float]] = []
        expiring += [(each, since + LINGER_S) for each, since in self._lingering.items()]
        expiring += [(each, since + self._head_s) for each, since in self._closing.items()]
        for closing, until in expiring:
            if now > until:
                closing.abort()
        self._sweep = None
        if any(self._all):
            self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._close_expired)


def _files_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft
