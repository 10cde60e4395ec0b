"""Frames: what goes in comes out, and what is no frame ends the connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from app.inference.remote import frames
from app.inference.remote.frames import (
    Arriving,
    Cancel,
    Collect,
    Done,
    Failed,
    FrameError,
    FrameProtocol,
    Gather,
    Hello,
    Load,
    Loaded,
    Message,
    Pages,
    State,
    Submit,
    Unload,
    encode,
)
from tests.support.services import until

EACH: list[Message] = [
    Hello("0"),
    Load("/models/a", "a@1", "0" * 64),
    Loaded(1, "cuda", "tensorflow", "float16", (1, 2, 4), 1),
    Unload(1),
    Arriving(1, 2),
    Submit(1, "an id"),
    Cancel(),
    Done(0.25, 0.5, 3),
    Failed("QueueFull", "Ünïcode"),
    State(""),
    Gather(others=True),
    Collect(),
    Pages(("0", "1"), (3, 4)),
]


class End:
    """One end of a connection: what arrived, and how often it was lost."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Message, bytes]] = []
        self.lost = 0
        self.refused: type[Message] | None = None
        self.protocol = FrameProtocol(self._on_frame, self._on_lost)

    def _on_frame(self, number: int, message: Message, array: memoryview) -> None:
        if self.refused is type(message):
            raise FrameError("as ordered")
        self.got.append((number, message, bytes(array)))

    def _on_lost(self) -> None:
        self.lost += 1


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[End, socket.socket]]:
    """An end, and the bare socket of the other one."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = End()
    transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: end.protocol, sock=ours)
    try:
        yield end, theirs
    finally:
        transport.abort()
        theirs.close()
        await until(lambda: end.lost == 1)


async def send(other: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(other, data)


def frame(number: int, message: Message, array: bytes = b"") -> bytes:
    return b"".join(encode(number, message, array))


async def test_every_message_arrives_as_it_was_sent_with_its_array_and_number() -> None:
    async with connected() as (end, other):
        for number, message in enumerate(EACH):
            await send(other, frame(number, message, bytes([number]) * 1000 * number))
        await until(lambda: len(end.got) == len(EACH))
        assert end.got == [
            (number, message, bytes([number]) * 1000 * number) for number, message in enumerate(EACH)
        ]


async def test_frames_arrive_whole_however_they_are_cut() -> None:
    data = frame(2**60, Submit(3, "x"), b"square") + frame(1, Collect())
    async with connected() as (end, other):
        for at in range(len(data)):
            await send(other, data[at : at + 1])
            await asyncio.sleep(0)
        await until(lambda: len(end.got) == 2)
        assert end.got == [(2**60, Submit(3, "x"), b"square"), (1, Collect(), b"")]


async def test_an_array_larger_than_any_socket_buffer_goes_both_ways() -> None:
    alpha = np.random.default_rng(0).random((1500, 1500), np.float32)
    ours, theirs = socket.socketpair()
    loop, ends = asyncio.get_running_loop(), (End(), End())
    made = [
        await loop.create_unix_connection(lambda end=end: end.protocol, sock=each)  # type: ignore[misc]
        for end, each in zip(ends, (ours, theirs), strict=True)
    ]
    for end in ends:
        end.protocol.send(1, Done(0, 0, 1), alpha.data)
    await until(lambda: all(end.got for end in ends))
    assert all(end.got[0][2] == alpha.tobytes() for end in ends)
    for transport, _ in made:
        transport.abort()
    await until(lambda: all(end.lost for end in ends))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        frames._HEAD.pack(len(EACH), 2, 0, 0),
        frames._HEAD.pack(0, 0, 0, 0),
        frames._HEAD.pack(0, frames.MESSAGE_BYTES_MAX + 1, 0, 0),
        frames._HEAD.pack(0, 2, frames.ARRAY_BYTES_MAX + 1, 0),
        frames._HEAD.pack(0, 2, 0, 0) + b"{}",
        frames._HEAD.pack(0, 2, 0, 0) + b"\xff\xff",
        frames._HEAD.pack(5, 24, 0, 0) + b'{"model":-,"request":""}',
        frames._HEAD.pack(5, 28, 0, 0) + b'{"model":"one","request":""}',
    ],
    ids=["http", "kind", "nothing", "message", "array", "fields", "text", "json", "type"],
)
async def test_what_is_no_frame_ends_the_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as (end, other):
        await send(other, frame(1, Collect()) + data)
        await until(lambda: end.lost == 1)
        assert [message for _, message, _ in end.got] == [Collect()]
        assert not end.protocol.open
        end.protocol.send(1, Collect())  # Nothing happens.
    assert "a connection between processes ends" in caplog.text


async def test_a_frame_that_its_reader_refuses_ends_the_connection() -> None:
    async with connected() as (end, other):
        end.refused = Collect
        await send(other, frame(1, Collect()) + frame(2, Cancel()))
        await until(lambda: end.lost == 1)
        assert not end.got


async def test_half_a_frame_is_dropped_with_its_connection() -> None:
    async with connected() as (end, other):
        await send(other, frame(1, Submit(1, ""), b"half")[:-1])
        other.close()
        await until(lambda: end.lost == 1)
        assert not end.got
