"""Clients that stall or leave, over bare sockets: HTTP clients are too polite for that.

In: an address and a request without options. Out: an `Ending`.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from tests.bench.mixed import BUSY, Ending, Request, lost

LEAVES_AFTER_S: Final = 0.3
TOO_SLOW: Final = "408 body_too_slow"


async def stall(address: str, request: Request, patience_s: float) -> Ending:
    """Half of the body, and then nothing: the service must say that it was too slow."""
    try:
        reader, writer = await _half_sent(address, request)
        async with asyncio.timeout(patience_s):
            answer = (await reader.read()).decode("latin-1")
        writer.close()
    except OSError as error:  # TimeoutError is one
        return lost(error, "half a body")
    for status, code in (each.split(" ") for each in (TOO_SLOW, BUSY)):
        if answer.startswith(f"HTTP/1.1 {status} ") and f'"{code}"' in answer:
            return Ending(f"{status} {code}")
    return Ending("lost (half a body)", f"half a body: {answer[:200]!r}")


async def leave(address: str, request: Request, *, early: bool) -> Ending:
    """Go away in the middle of the upload, or while the answer is being made."""
    try:
        _, writer = await _half_sent(address, request)
        if not early:
            writer.write(request.data[len(request.data) // 2 :])
            await writer.drain()
        await asyncio.sleep(LEAVES_AFTER_S)
        writer.transport.abort()
    except ConnectionResetError:
        return Ending("left, refused before")
    except OSError as error:
        return lost(error, "a client about to leave")
    return Ending("left early" if early else "left late")


async def _half_sent(address: str, request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST {request.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: image/jpeg\r\n"
    writer.write(f"{head}Content-Length: {len(request.data)}\r\n\r\n".encode())
    writer.write(request.data[: len(request.data) // 2])
    await writer.drain()
    return reader, writer
