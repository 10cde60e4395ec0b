"""An ASGI app behind the service's own connections, which keeps what requests it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from app.observability.metrics import Metrics
from app.server.connection_limits import ConnectionLimiter
from app.server.server import Server
from app.settings import Settings
from tests.support.socket_servers import opened

PATIENCE_S = 10


@dataclass
class Recorder:
    """Reads each body, and answers with the path; below /slow once `go` is set, but not those who have left."""

    port: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    whole: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            for answer in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{answer}.complete"})
            return
        path = scope["path"]
        self.begun.append(path)
        self.headers.append(dict(scope["headers"]))
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            body, more = body + message["body"], message["more_body"]
        self.whole.append((scope["method"], path, body))
        if path.startswith("/slow") and not await self._goes(receive):
            self.left.append(path)
            return
        said = path.encode()
        headers = [(b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})

    async def _goes(self, receive: Receive) -> bool:
        """Whether `go` is set before the client has left."""
        going, leaving = asyncio.ensure_future(self.go.wait()), asyncio.ensure_future(receive())
        done, waiting = await asyncio.wait({going, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
        return going in done


@asynccontextmanager
async def recording(**chosen: object) -> AsyncIterator[Recorder]:
    settings, made = Settings(**chosen), Recorder()  # type: ignore[arg-type]
    async with opened(Server(made, ConnectionLimiter(settings, Metrics()), settings)) as made.port:
        try:
            yield made
        finally:
            made.go.set()


async def answers(port: int, *pieces: bytes, ends: bool = True) -> list[tuple[int, str]]:
    """Status and path, or error's code, of all that is answered to what comes in these pieces. `ends`: then nothing
    more is sent, which is told; else it goes on until the service closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            return _read(await reader.read())
    finally:
        writer.transport.abort()


def _read(data: bytes) -> list[tuple[int, str]]:
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        length = int(fields.get("content-length", 0))
        body, data = rest[:length].decode(), rest[length:]
        assert len(body) == length
        status = int(head[9:12])
        found.append((status, json.loads(body)["errors"][0]["code"] if status >= 400 else body))
    return found
