from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fastapi import Request
from starlette.types import Message

from app.api.routes import deliver, server_timing, unless_disconnected
from app.errors import ClientGone, UnreadableImage
from app.imaging.output import CUTOUT, MATTE, Channels, Output
from tests.support.images import pixels, png
from tests.support.networks import Gate
from tests.support.person_image import SIDE, finds_nobody, finds_standing, standing
from tests.support.services import Running

BOX_HEADERS = ["x-foreground-top", "x-foreground-left", "x-foreground-width", "x-foreground-height"]


def request_to(app: object = None, receive: Callable[[], object] | None = None) -> Request:
    """Its body has been read; `receive` is asked whether the client is still there, who stays if there is none."""

    async def stays() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http", "headers": [], "app": app}, receive or stays)  # type: ignore[arg-type]


async def leaves() -> Message:
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("output", [MATTE, CUTOUT], ids=["matte", "cutout"])
async def test_answer_is_the_file_and_headers_tell_of_it(running: Running, output: Output) -> None:
    async with running(finds_standing) as service:
        answer = await deliver(request_to(service.app), png(standing()), output)
    assert answer.media_type == "image/png"
    assert pixels(bytes(answer.body)).shape[:2] == (SIDE, SIDE)
    told = {name: answer.headers[name] for name in ("x-width", "x-height", "x-model", "x-foreground")}
    assert told == {"x-width": "64", "x-height": "64", "x-model": "stand-in@0", "x-foreground": "person"}
    assert answer.headers["x-matte-confidence"] == "1.000"
    assert [answer.headers[name] for name in BOX_HEADERS] == ["8", "16", "40", "32"]
    stages = [entry.partition(";")[0] for entry in answer.headers["server-timing"].split(", ")]
    middle = [] if output.channels is Channels.ALPHA else ["compose"]
    assert stages == ["decode", "queue", "infer", "refine", *middle, "encode"]


async def test_nobody_is_nowhere(running: Running) -> None:
    async with running(finds_nobody) as service:
        answer = await deliver(request_to(service.app), png(standing()), CUTOUT)
    assert answer.headers["x-foreground"] == "none"
    assert not set(BOX_HEADERS) & set(answer.headers)


async def test_client_that_leaves_is_worked_for_no_longer(running: Running, gate: Gate) -> None:
    async with running(gate, max_batch_size=1) as service:
        with pytest.raises(ClientGone):
            await deliver(request_to(service.app, leaves), png(standing()), CUTOUT)
        gate.opened.set()
        # What was begun for him holds no place: the next one is served.
        await deliver(request_to(service.app), png(standing()), CUTOUT)


async def test_work_of_a_client_who_leaves_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientGone):
        await unless_disconnected(request_to(receive=leaves), work())
    await asyncio.wait_for(cancelled.wait(), 10)


async def test_work_that_fails_fails_as_it_would_alone() -> None:
    async def fails() -> None:
        raise UnreadableImage("broken")

    with pytest.raises(UnreadableImage, match="broken"):
        await unless_disconnected(request_to(), fails())


async def test_work_that_is_done_counts_though_the_client_left_at_the_same_time() -> None:
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done.set_result("done")
    assert await unless_disconnected(request_to(receive=leaves), done) == "done"


def test_server_timing_is_in_milliseconds() -> None:
    assert server_timing({"decode": 0.0123, "queue": 0}) == "decode;dur=12.3, queue;dur=0.0"
