"""An ASGI app behind a real socket, for tests of what speaks to it over one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from app.server.server import Server
from tests.support.services import until


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Its address. The socket listens from the start, so whoever comes early waits until the app is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield "http://{}:{}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            thread.join()


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[int]:
    """The port of the service's own server, which runs in this event loop; at the end it ends as after a signal."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server._serve([listener]))
    await until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running
