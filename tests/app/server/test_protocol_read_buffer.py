from __future__ import annotations

import asyncio

from app.server.protocol import Buffers, ReadBuffer


class Wire(asyncio.Transport):
    """A transport whose protocol can be set."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Taken(asyncio.Protocol):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Buffered:
    """A read buffer between a socket and a protocol that note what they get."""

    def __init__(self) -> None:
        self.wire, self.taken = Wire(), Taken()
        self.read_buffer = ReadBuffer(self.wire, self.taken, Buffers())

    def receive(self, data: bytes) -> None:
        self.read_buffer.get_buffer(-1)[: len(data)] = data
        self.read_buffer.buffer_updated(len(data))


def test_pieces_are_the_takers_own() -> None:
    buffered = Buffered()
    assert buffered.wire.protocol is buffered.read_buffer
    buffered.receive(b"first")
    buffered.receive(b"second")
    assert buffered.taken.pieces == [b"first", b"second"]


def test_little_is_read_of_a_head_and_much_of_a_body() -> None:
    buffered = Buffered()
    head = len(buffered.read_buffer.get_buffer(-1))
    buffered.read_buffer.expect_body()
    assert len(buffered.read_buffer.get_buffer(-1)) > 8 * head
    buffered.read_buffer.expect_head()
    assert len(buffered.read_buffer.get_buffer(-1)) == head


def test_taker_hears_of_the_end() -> None:
    buffered = Buffered()
    buffered.read_buffer.connection_lost(error := ConnectionResetError())
    assert buffered.taken.lost == [error]
