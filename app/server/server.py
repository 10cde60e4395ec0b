"""An app and its listening sockets come in, and are served until a signal comes: uvicorn, with our end.

Knows no request.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from app.middleware.paths import Proxied
from app.server.connection_limits import House
from app.server.protocol import protocol_of
from app.settings import Settings

if TYPE_CHECKING:
    import socket


class Server(uvicorn.Server):
    """uvicorn, turning red before it stops, and leaving with 0 after a signal whose work is done.

    When it has shut down, uvicorn raises a caught signal once more for the handlers that were there before it.
    They are ours, so that this ends in nothing instead of in status 143.
    """

    def __init__(
        self, app: ASGIApp, house: House, settings: Settings, drain: Callable[[], None] = lambda: None
    ) -> None:
        """`drain` is called when the end is near, in a signal's handler, too."""
        super().__init__(_config(app, house, settings))
        self._house = house
        self._drain = drain

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes, or `stop` is called."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: self.stop())
        super().run(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn. Whoever was answered has time to read it."""
        await super().shutdown(sockets)
        await self._house.seen_off()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGINT and SIGTERM."""
        self._drain()
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        """Take no more requests, finish those inside, and return from `run`."""
        self._drain()
        self.should_exit = True


def _config(app: ASGIApp, house: House, settings: Settings) -> uvicorn.Config:
    """Nothing is taken from the environment."""
    return uvicorn.Config(
        Proxied(app, settings.trusted_proxies) if settings.trusted_proxies else app,
        http=protocol_of(house),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # by Proxied
        timeout_keep_alive=math.ceil(settings.keep_alive_ms / 1000),
        # A second more than the pipeline takes: whoever it gives up is still answered.
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_ms / 1000) + 1,
    )
