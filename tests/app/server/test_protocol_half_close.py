"""Clients that send no more: some wait for their answers, as `nc -N` does, some have left. On both event loops."""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from tests.support.recording_app import PATIENCE_S, Recorder, answers, recording
from tests.support.services import until

SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """What uvicorn runs on is uvloop, where that is installed."""

    def run(loop: Callable[[], asyncio.AbstractEventLoop], **given: Any) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**given))

    given = inspect.signature(test).parameters.values()
    ours = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([ours, *given])  # type: ignore[attr-defined]
    run.__name__ = test.__name__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop", loops, ids=["asyncio", "uvloop"])(run)


@asynccontextmanager
async def half_closed(service: Recorder, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(data)
    writer.write_eof()
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("data", [SLOW, POST + b"photo", SLOW.replace(b"1.1", b"1.0")])
@on_both_loops
async def test_client_that_sends_no_more_gets_its_answer(data: bytes) -> None:
    async with recording() as service:
        asking = asyncio.create_task(answers(service.port, data))
        await until(lambda: bool(service.whole))
        service.go.set()
        assert await asking == [(200, "/slow")]
    assert service.left == []


@on_both_loops
async def test_all_that_it_asked_for_is_answered() -> None:
    async with recording() as service:
        asking = asyncio.create_task(answers(service.port, QUICK + SLOW + POST + b"photo" + QUICK))
        await until(lambda: len(service.whole) == 2)
        service.go.set()
        assert await asking == [(200, "/quick"), (200, "/slow"), (200, "/slow"), (200, "/quick")]


@on_both_loops
async def test_it_is_told_that_the_answer_is_the_last() -> None:
    async with recording() as service, half_closed(service, SLOW) as reader:
        await until(lambda: bool(service.whole))
        service.go.set()
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.count(b"HTTP/1.1") == 1
        assert b"\r\nconnection: close\r\n" in answer


@on_both_loops
async def test_answer_begins_before_it_is_known() -> None:
    async with recording() as service, half_closed(service, SLOW) as reader:
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(9) == b"HTTP/1.1 "
        assert not service.go.is_set()


@on_both_loops
async def test_error_is_told_as_well() -> None:
    async with recording() as service:
        asking = asyncio.create_task(answers(service.port, SLOW + b"nonsense\r\n\r\n"))
        await until(lambda: bool(service.whole))
        service.go.set()
        assert await asking == [(200, "/slow"), (400, "malformed_request")]


@on_both_loops
async def test_request_that_is_cut_off_is_not_answered() -> None:
    async with recording() as service:
        assert await answers(service.port, POST + b"pho") == []
        assert await answers(service.port, POST[:20]) == []
        assert service.left == ["/slow"]
        assert await answers(service.port, QUICK + POST + b"pho") == [(200, "/quick")]
        assert await answers(service.port, QUICK + POST[:20]) == [(200, "/quick")]


@pytest.mark.parametrize("data", [SLOW, POST + b"photo", QUICK + SLOW])
@pytest.mark.parametrize("resets", [False, True])
@on_both_loops
async def test_nothing_is_done_for_a_client_that_has_left(data: bytes, resets: bool) -> None:
    async with recording() as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        if resets:  # Some systems do so when a process ends.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.write(data)
        await until(lambda: "/slow" in [path for _, path, _ in service.whole])
        writer.close()
        await until(lambda: service.left == ["/slow"])
