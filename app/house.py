"""Connections come in, those that keep silent, dawdle or are too many are ended. Knows no HTTP and no route."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from app.errors import ServiceError, TooManyConnections
from app.intake import LINGER_S, Buffers

if TYPE_CHECKING:
    from app.connections import Connection
    from app.metrics import Metrics
    from app.settings import Settings
    from app.turnstile import Turnstile

FILES_KEPT_FREE: Final = 64  # descriptors for the model, the logs and the listening socket
_SWEEP_S: Final = 0.5


class House:
    """The connections of one server: a new one always finds room, at the cost of one that does nothing.

    When there are too many, the one goes that has waited longest for a request of its client, or else the one that
    has been read away for longest. If all are busy, one of the address that has the most of them goes, unless that is
    the newcomer's own; then the newcomer is refused. So neither silence nor a crowd keeps others, or a health check,
    from being heard.
    """

    def __init__(self, settings: Settings, metrics: Metrics, turnstile: Turnstile | None = None) -> None:
        """`turnstile`: who looks at each head before it becomes a request, if anybody does."""
        self.turnstile = turnstile
        self.head_bytes = settings.max_head_bytes
        self._head_s = settings.head_timeout_ms / 1000
        self._keep_alive_s = settings.keep_alive_ms / 1000
        self._most = max(1, min(settings.max_connections, _files_allowed() - FILES_KEPT_FREE))
        self._metrics = metrics
        self._since: dict[Connection, float] = {}  # Those without a request, the longest without one first.
        self._begun: set[Connection] = set()  # Of these, those whose next request has begun, or has to.
        self._busy: dict[Connection, None] = {}
        self._lingering: dict[Connection, float] = {}
        self._leaving: dict[Connection, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._all: tuple[dict[Connection, Any], ...] = (
            self._since,
            self._busy,
            self._lingering,
            self._leaving,
        )
        self.buffers = Buffers()
        self.discarded = metrics.discarded_bytes.inc
        metrics.connections.set_function(lambda: sum(map(len, self._all)))

    def enter(self, connection: Connection) -> None:
        """A new socket. Raises TooManyConnections."""
        if len(self._since) + len(self._busy) + len(self._lingering) >= self._most:
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

    def lingers(self, connection: Connection) -> None:
        """All is said, but a body is still coming."""
        self.left(connection)
        self._lingering[connection] = time.monotonic()

    def leaves(self, connection: Connection) -> None:
        """It is being closed. A client that does not read what was left for it does not keep it open for ever."""
        self.left(connection)
        self._leaving[connection] = time.monotonic()

    def left(self, connection: Connection) -> None:
        for held in self._all:
            held.pop(connection, None)
        self._begun.discard(connection)

    def counted(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.reason).inc()
        return error

    def _wait(self, connection: Connection) -> None:
        self._busy.pop(connection, None)
        self._since.pop(connection, None)  # It goes to the end.
        self._since[connection] = time.monotonic()

    def _victim(self, newcomer: str) -> Connection | None:
        for held in (self._since, self._lingering):
            if held:
                return next(iter(held))
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
        for held, most_s in ((self._lingering, LINGER_S), (self._leaving, self._head_s)):
            for connection, since in list(held.items()):
                if now - since > most_s:
                    connection.abort()
        self._sweep = None
        if any(self._all):
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._look_around)


def _files_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft
