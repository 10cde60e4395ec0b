"""The pipeline is asked for a picture, an HTTP answer with all its headers goes out, unless the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from fastapi import Request, Response

from app.access import CLIENT
from app.errors import ClientGone
from app.options import How
from app.output import Output
from app.pipeline import Pipeline, Result

T = TypeVar("T")


async def ask(request: Request, photo: bytes, output: Output, how: How) -> Result:
    """What came of the photo. Raises ServiceErrors, ClientGone as soon as the client has left."""
    pipeline: Pipeline = request.app.state.pipeline
    client = request.scope.get(CLIENT, "")
    work = pipeline.run(photo, output, how.quality, model=how.model, client=client)
    return await unless_disconnected(request, work)


async def deliver(request: Request, photo: bytes, output: Output, how: How) -> Response:
    """`ask`, as the file itself."""
    result = await ask(request, photo, output, how)
    return Response(result.finished.data, media_type=result.finished.media_type, headers=headers_of(result))


def headers_of(result: Result) -> dict[str, str]:
    """What a client may want to know of a picture without decoding it."""
    finished = result.finished
    headers = {
        "X-Model": result.model,
        "X-Width": str(finished.width),
        "X-Height": str(finished.height),
        "X-Foreground": finished.found,
        "X-Matte-Confidence": f"{finished.confidence:.3f}",
        "Server-Timing": server_timing(result.seconds),
    }
    if finished.person:
        box = finished.person
        sides = {"Top": box.top, "Left": box.left, "Width": box.width, "Height": box.height}
        headers |= {f"X-Foreground-{name}": str(pixels) for name, pixels in sides.items()}
    return headers


def server_timing(seconds: Mapping[str, float]) -> str:
    """The Server-Timing header, in milliseconds."""
    return ", ".join(f"{stage};dur={duration * 1000:.1f}" for stage, duration in seconds.items())


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; if the client leaves meanwhile, cancel it, so that nothing is computed for nobody."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client left before its matte was done.")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
