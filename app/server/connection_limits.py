"""Connections come in, those that keep silent, dawdle or are too many are ended. Knows no HTTP and no route."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

from app.errors import ServiceError, TooManyConnections
from app.server.lingering_close import LINGER_S, Departing, Departures

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from app.observability.metrics import Metrics
    from app.settings import Settings

FILES_KEPT_FREE: Final = 64  # descriptors for the model, the logs and the listening socket
_SWEEP_S: Final = 0.5


class Connection(Protocol):
    """What is asked of `app.server.protocol.Connection` here."""

    address: str

    def refuse_slow_head(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class House:
    """The connections of one server: a new one always finds room, at the cost of one that does nothing.

    When there are too many, the one goes that has waited longest for a request of its client, or else the one that
    has been on its way out for longest. If all are busy, one of the address that has the most of them goes, unless
    that is the newcomer's own; then the newcomer is refused. So neither silence nor a crowd keeps others, or a health
    check, from being heard.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.head_bytes = settings.max_head_bytes
        self._head_s = settings.head_timeout_ms / 1000
        self._keep_alive_s = settings.keep_alive_ms / 1000
        self._most = max(1, min(settings.max_connections, _files_allowed() - FILES_KEPT_FREE))
        self._metrics = metrics
        self._since: dict[Connection, float] = {}  # Those without a request, the longest without one first.
        self._begun: set[Connection] = set()  # Of these, those whose next request has begun, or has to.
        self._busy: dict[Connection, None] = {}
        self._lingering: dict[Departing, float] = {}
        self._leaving: dict[Connection, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._departures = Departures(self._gone)
        self._all: tuple[dict[Any, Any], ...] = (self._since, self._busy, self._lingering, self._leaving)
        metrics.connections.set_function(lambda: sum(map(len, self._all)))

    def enter(self, connection: Connection) -> None:
        """A new socket. Raises TooManyConnections."""
        if len(self._since) + len(self._busy) + len(self._lingering) >= self._most:
            victim = self._victim(connection.address)
            if victim is None:
                raise self.counted(TooManyConnections(f"There are {self._most} connections already."))
            self._metrics.rejected.labels("connection_displaced").inc()
            victim.abort()
        self.heads(connection)
        self._look_later()

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
        self._leaving[connection] = time.monotonic()

    def left(self, connection: Connection) -> None:
        for held in self._all:
            held.pop(connection, None)
        self._begun.discard(connection)

    def see_off(self, sock: socket.socket) -> None:
        """All is said, but a body may still be coming."""
        if departing := self._departures.see_off(sock):
            self._lingering[departing] = time.monotonic()
            self._look_later()

    async def seen_off(self) -> None:
        """Until there is nobody of these any more."""
        while self._lingering:
            await asyncio.sleep(_SWEEP_S / 10)

    def counted(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.reason).inc()
        return error

    def _wait(self, connection: Connection) -> None:
        self._busy.pop(connection, None)
        self._since.pop(connection, None)  # It goes to the end.
        self._since[connection] = time.monotonic()

    def _gone(self, departing: Departing) -> None:
        self._lingering.pop(departing, None)
        self._metrics.discarded_bytes.inc(departing.wasted)

    def _victim(self, newcomer: str) -> Connection | Departing | None:
        idle: Iterator[Connection | Departing] = chain(self._since, self._lingering)
        if longest := next(idle, None):
            return longest
        crowds = Counter(connection.address for connection in self._busy)
        largest, count = crowds.most_common(1)[0]
        if count <= crowds[newcomer] + 1:
            return None
        return next(connection for connection in self._busy if connection.address == largest)

    def _look_around(self) -> None:
        now = time.monotonic()
        for connection, since in list(self._since.items()):
            if connection in self._begun:
                if now - since > self._head_s:
                    connection.refuse_slow_head()
            elif now - since > self._keep_alive_s:
                connection.close()
        leavers: list[tuple[Connection | Departing, float]] = []
        leavers += [(each, since + LINGER_S) for each, since in self._lingering.items()]
        leavers += [(each, since + self._head_s) for each, since in self._leaving.items()]
        for leaver, until in leavers:
            if now > until:
                leaver.abort()
        self._sweep = None
        if any(self._all):
            self._look_later()

    def _look_later(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look_around)


def _files_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft
