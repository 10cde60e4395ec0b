"""uvicorn's server. On SIGTERM it reports not ready, drains, and exits with status 0."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from app.middleware.paths import TrustedProxies
from app.server.connection_limits import ConnectionLimiter
from app.server.protocol import protocol_class
from app.settings import Settings

if TYPE_CHECKING:
    import socket


class Server(uvicorn.Server):
    """uvicorn, which drains before it stops, and exits with status 0 after a signal.

    When it has shut down, uvicorn raises a caught signal once more for the handlers that were there before it.
    They are ours and do nothing then, instead of ending the process with status 143.
    """

    def __init__(
        self,
        app: ASGIApp,
        limiter: ConnectionLimiter,
        settings: Settings,
        drain: Callable[[], None] = lambda: None,
    ) -> None:
        """`drain` is called when the server begins to stop, possibly from a signal handler."""
        super().__init__(_config(app, limiter, settings))
        self._limiter = limiter
        self._drain = drain

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes, or `stop` is called."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: self.stop())
        super().run(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn. Clients have time to read their last answer."""
        await super().shutdown(sockets)
        await self._limiter.wait_lingering()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGINT and SIGTERM."""
        self._drain()
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        """Take no more requests, finish those in flight, and return from `run`."""
        self._drain()
        self.should_exit = True


def _config(app: ASGIApp, limiter: ConnectionLimiter, settings: Settings) -> uvicorn.Config:
    """Uvicorn reads nothing from the environment."""
    return uvicorn.Config(
        TrustedProxies(app, settings.trusted_proxies) if settings.trusted_proxies else app,
        http=protocol_class(limiter),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # by TrustedProxies
        timeout_keep_alive=math.ceil(settings.keep_alive_ms / 1000),
        # A second more than the pipeline takes: requests that it aborts are still answered.
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_ms / 1000) + 1,
    )
